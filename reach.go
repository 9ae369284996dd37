package recall

import (
	"context"
	"errors"
	"sync"
)

// errAborted is the cause of an attempt's context that a cancellation ended.
var errAborted = errors.New("recall: the message was cancelled during the attempt")

// reach lets a cancellation get at the attempts that are running: to end them,
// and so that what is said of them is true. The zero value is ready for use.
type reach struct {
	mu      sync.Mutex
	running map[MessageID]*running
	claims  map[*claiming]struct{} // under way
}

// running is one attempt.
type running struct {
	cancel context.CancelCauseFunc
	asked  bool // the message is not to be tried again
}

// claiming is a claim and the start of what it leases. In between a message is
// in flight and not running yet: what is asked of it then holds when it starts.
type claiming struct{ early map[MessageID]Policy }

// claiming begins a claim, claimed ends it.
func (r *reach) claiming() *claiming {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claims == nil {
		r.claims = map[*claiming]struct{}{}
	}
	c := new(claiming)
	r.claims[c] = struct{}{}
	return c
}

func (r *reach) claimed(c *claiming) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.claims, c)
}

// add starts an attempt at what a claim has leased.
func (r *reach) add(id MessageID, cancel context.CancelCauseFunc, c *claiming) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running == nil {
		r.running = map[MessageID]*running{}
	}
	r.running[id] = &running{cancel: cancel}
	if policy, asked := c.early[id]; asked {
		r.running[id].ask(policy)
	}
}

func (a *running) ask(p Policy) {
	a.asked = true
	if p == Abort {
		a.cancel(errAborted)
	}
}

// remove ends what is known of an attempt, and reports whether its message is
// not to be tried again.
func (r *reach) remove(id MessageID) (asked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.running[id]; a != nil {
		asked = a.asked
	}
	delete(r.running, id)
	return asked
}

// ask tells the attempts at some messages that these are not to be tried again,
// and ends them with Abort. Attempts that have ended are passed over.
func (r *reach) ask(ids []MessageID, p Policy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		if a := r.running[id]; a != nil {
			a.ask(p)
			continue
		}
		for c := range r.claims {
			if c.early == nil {
				c.early = map[MessageID]Policy{}
			}
			c.early[id] = p
		}
	}
}

// asked tells the attempts that are running at some messages what was asked of
// these.
func (b *Broker) asked(ids []MessageID, p Policy) { b.reach.ask(ids, p) }
