package recall

import (
	"sync"
	"sync/atomic"

	"github.com/oklog/ulid/v2"
)

// aliases are the ids of messages that were imported: another engine has given them,
// so that they do not resolve by arithmetic. Their rows have them; memory has them both
// ways, some 150 bytes for each. The engine's mu may be held, and nothing is waited for
// while mu is.
type aliases struct {
	any   atomic.Bool // there are, or were, some
	mu    sync.RWMutex
	byID  map[ulid.ULID]resolvedID
	bySeq map[uint64]ulid.ULID
	gone  []ulid.ULID // whose messages are, oldest first from next on: who lists goes on behind one
	next  int
}

// goneAliases is how many ids still resolve when their messages are gone.
const goneAliases = 1 << 16

func (a *aliases) add(r resolvedID, id ulid.ULID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.byID == nil {
		a.byID, a.bySeq = map[ulid.ULID]resolvedID{}, map[uint64]ulid.ULID{}
	}
	a.byID[id], a.bySeq[r.seq] = r, id
	a.any.Store(true)
}

// remove forgets the id of a message that is gone, but for those that went last.
func (a *aliases) remove(seq uint64) {
	if !a.any.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id, ok := a.bySeq[seq]
	if !ok {
		return
	}
	delete(a.bySeq, seq)
	if len(a.gone) < goneAliases {
		a.gone = append(a.gone, id)
		return
	}
	old := a.gone[a.next]
	if _, lives := a.bySeq[a.byID[old].seq]; !lives { // it may have been imported again
		delete(a.byID, old)
	}
	a.gone[a.next], a.next = id, (a.next+1)%goneAliases
}

func (a *aliases) resolve(id ulid.ULID) (r resolvedID, ok bool) {
	if !a.any.Load() {
		return r, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	r, ok = a.byID[id]
	return r, ok
}

func (a *aliases) of(seq uint64) (id ulid.ULID, ok bool) {
	if !a.any.Load() {
		return id, false
	}
	a.mu.RLock()
	defer a.mu.RUnlock()
	id, ok = a.bySeq[seq]
	return id, ok
}

// resolve returns what an id names: a message that was imported under it, or else
// the one that this file has issued it for.
func (e *embedded) resolve(id MessageID) (r resolvedID, ok bool) {
	if e.aliases.any.Load() {
		if u, err := id.ulid(); err == nil {
			if r, ok := e.aliases.resolve(u); ok {
				return r, true
			}
		}
	}
	return e.ids.resolve(id)
}

func (e *embedded) resolveAll(ids []MessageID) []resolvedID {
	out := make([]resolvedID, 0, len(ids))
	for _, id := range ids {
		if r, ok := e.resolve(id); ok {
			out = append(out, r)
		}
	}
	return out
}

// idOf is the id of a message of this file.
func (e *embedded) idOf(seq uint64, created int64) ulid.ULID {
	if id, ok := e.aliases.of(seq); ok {
		return id
	}
	return e.ids.make(seq, created)
}
