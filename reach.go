package recall

import (
	"context"
	"errors"
	"sync"
)

// errAborted is the cause of an attempt's context that a cancellation ended.
var errAborted = errors.New("recall: the message was cancelled during the attempt")

// reach lets a cancellation get at the attempts that are running. The zero
// value is ready for use.
type reach struct {
	mu      sync.Mutex
	running map[MessageID]context.CancelCauseFunc
	// Between a claim and the start of its attempts a message is in flight and
	// not running yet: who is asked for then is cut short when it starts.
	open  bool
	early map[MessageID]struct{}
}

// claiming brackets a claim and the start of what it leased.
func (r *reach) claiming(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open, r.early = on, nil
}

func (r *reach) add(id MessageID, cancel context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		r.running = map[MessageID]context.CancelCauseFunc{}
	}
	r.running[id] = cancel
	if _, asked := r.early[id]; asked {
		cancel(errAborted)
	}
}

func (r *reach) remove(id MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, id)
}

// abort cancels the contexts of the attempts at some messages. Attempts that
// have ended are passed over.
func (r *reach) abort(ids []MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if cancel := r.running[id]; cancel != nil {
			cancel(errAborted)
			continue
		}
		if r.open {
			if r.early == nil {
				r.early = map[MessageID]struct{}{}
			}
			r.early[id] = struct{}{}
		}
	}
}

// abort ends the running attempts at messages that are not to be tried again.
func (b *Broker) abort(ids []MessageID) {
	if b.dispatch != nil {
		b.dispatch.reach.abort(ids)
	}
}
