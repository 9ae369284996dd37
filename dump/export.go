package dump

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"time"

	"github.com/recallmq/recall"
)

// Progress is told how far a call is: messages and dead letters of Export, bytes of
// Import, whose total is 0. It is called from the goroutine of the call.
type Progress func(done, total int64)

// page is how many messages one read brings into memory, at most.
const page = 1000

// Where package qstash keeps the signing keys.
const (
	keysBucket = "recall/qstash"
	keysKey    = "signing keys"
)

// Export writes all that is moved of an engine, as it is at now, and returns how much
// that is. Memory does not grow with the queue. An engine that other processes use
// meanwhile may give what they deliver, too, and miss what they publish: it is for a
// queue at rest. The dump has bodies, headers and signing keys as they are, also those
// that are redacted elsewhere.
//
// Errors are those of the engine, of w and of ctx; then what w has is no dump, and Import
// says so. Safe for concurrent use.
func Export(ctx context.Context, e recall.Engine, w io.Writer, now time.Time, progress Progress) (Counts, error) {
	x := &export{ctx: ctx, e: e, out: bufio.NewWriterSize(w, 1<<16), now: now, progress: progress}
	st := e.Stats()
	x.total = int64(st.Pending + st.InFlight + st.DeadLetters)
	if err := x.line(&line{Dump: &header{Version: Version, ID: rand.Text(), At: now.UTC()}}); err != nil {
		return x.counts, err
	}
	for _, part := range []func() error{x.objects, x.standing, x.keys, x.messages, x.dead} {
		if err := part(); err != nil {
			return x.counts, err
		}
	}
	counts := x.counts
	if err := x.line(&line{End: &counts}); err != nil {
		return x.counts, err
	}
	return x.counts, x.out.Flush()
}

// export is one call.
type export struct {
	ctx         context.Context
	e           recall.Engine
	out         *bufio.Writer
	now         time.Time
	counts      Counts
	progress    Progress
	done, total int64
}

func (x *export) line(l *line) error {
	text, err := l.text()
	if err != nil {
		return err
	}
	_, err = x.out.Write(text)
	return err
}

// moved counts what is written.
func (x *export) moved(n int) {
	x.done += int64(n)
	if x.progress != nil {
		x.progress(x.done, max(x.done, x.total))
	}
}

func (x *export) objects() error {
	keeper, ok := x.e.(recall.Keeper)
	if !ok {
		return nil
	}
	for _, k := range kinds {
		list, err := keeper.Objects(x.ctx, k.kind)
		if err != nil {
			return err
		}
		for _, o := range list {
			if err := x.line(&line{Object: objectOf(o)}); err != nil {
				return err
			}
			x.counts.Objects++
		}
	}
	return nil
}

func (x *export) standing() error {
	stander, ok := x.e.(recall.Stander)
	if !ok {
		return nil
	}
	list, err := stander.StandingCancellations(x.ctx, x.now)
	if err != nil {
		return err
	}
	for _, s := range list {
		if !s.Active(x.now) {
			continue
		}
		if err := x.line(&line{Standing: &standing{s.Filter, s.Reason, s.Until.UTC()}}); err != nil {
			return err
		}
		x.counts.Standing++
	}
	return nil
}

func (x *export) keys() error {
	t, ok := x.e.(recall.Transactor)
	if !ok {
		return nil
	}
	value, err := t.Lookup(x.ctx, keysBucket, []byte(keysKey))
	if err != nil || value == nil {
		return err
	}
	x.counts.Rows++
	return x.line(&line{Row: &row{keysBucket, []byte(keysKey), value}})
}

func (x *export) messages() error {
	for after := recall.MessageID(""); ; {
		list, err := x.e.List(x.ctx, recall.Filter{}, after, page, x.now)
		if err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			if err := x.line(&line{Message: messageOf(&list[i])}); err != nil {
				return err
			}
		}
		after = list[len(list)-1].ID
		x.counts.Messages += len(list)
		x.moved(len(list))
	}
}

func (x *export) dead() error {
	for after := recall.DeadLetterID(""); ; {
		list, err := x.e.ListDead(x.ctx, recall.Filter{}, after, page)
		if err != nil || len(list) == 0 {
			return err
		}
		for i := range list {
			if err := x.line(&line{Dead: deadOf(&list[i])}); err != nil {
				return err
			}
		}
		after = list[len(list)-1].ID
		x.counts.Dead += len(list)
		x.moved(len(list))
	}
}

// ErrDump is returned for what is no dump, or is cut short, or of a newer format. What
// came before the fault may have been imported.
var ErrDump = errors.New("recall: not a whole dump")
