package store

import "context"

// meter counts the bytes of a long call, which has stages, tells them now and
// then, of a total that does not change, and ends the call with a context.
type meter struct {
	ctx   context.Context
	fn    func(done, total int64)
	done  int64
	end   int64 // of the stage
	total int64
	told  int64
}

// meterStep is how many bytes pass between two looks at the context.
const meterStep = 1 << 20

func newMeter(ctx context.Context, fn func(done, total int64), total int64) *meter {
	if fn == nil {
		fn = func(int64, int64) {}
	}
	return &meter{ctx: ctx, fn: fn, total: total}
}

// stage begins the next stage, of so many bytes.
func (m *meter) stage(bytes int64) error {
	m.done = m.end
	m.end = min(m.end+bytes, m.total)
	return m.tell()
}

// add counts bytes of the stage.
func (m *meter) add(bytes int64) error {
	m.done = min(m.done+bytes, m.end)
	if m.done-m.told < meterStep {
		return nil
	}
	return m.tell()
}

func (m *meter) tell() error {
	m.told = m.done
	m.fn(m.done, m.total)
	return m.ctx.Err()
}

// finish is for a call that has succeeded.
func (m *meter) finish() { m.fn(m.total, m.total) }
