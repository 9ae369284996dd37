package store

import "context"

// meter counts the bytes of a long call, which has stages, tells them now and
// then, of a total that does not change, and ends the call with a context.
type meter struct {
	ctx   context.Context
	fn    func(done, total int64)
	total int64
	told  int64

	// The stage: where in the total it begins and how much of it it has, how many
	// bytes it is, and how many of them are done.
	begin, share int64
	bytes, done  int64
}

// meterStep is how many bytes pass between two looks at the context.
const meterStep = 1 << 20

func newMeter(ctx context.Context, fn func(done, total int64), total int64) *meter {
	if fn == nil {
		fn = func(int64, int64) {}
	}
	return &meter{ctx: ctx, fn: fn, total: total}
}

// stage begins the next stage, of so many bytes of the total.
func (m *meter) stage(bytes int64) error { return m.scaled(bytes, bytes) }

// scaled begins a stage of another number of bytes than its share of the total, which
// was fixed before that number was known.
func (m *meter) scaled(share, bytes int64) error {
	m.begin += m.share
	m.share = min(share, m.total-m.begin)
	m.bytes, m.done = bytes, 0
	return m.tell()
}

// add counts bytes of the stage.
func (m *meter) add(bytes int64) error {
	m.done = min(m.done+bytes, m.bytes)
	if m.now()-m.told < meterStep {
		return nil
	}
	return m.tell()
}

// now is how much of the total is done.
func (m *meter) now() int64 {
	if m.bytes <= 0 {
		return m.begin
	}
	return m.begin + int64(float64(m.share)*(float64(m.done)/float64(m.bytes)))
}

func (m *meter) tell() error {
	m.told = m.now()
	m.fn(m.told, m.total)
	return m.ctx.Err()
}

// finish is for a call that has succeeded.
func (m *meter) finish() { m.fn(m.total, m.total) }
