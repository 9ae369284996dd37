package postgres

import "sync"

// answered are keys of commits whose outcome is known, for which nobody will ask any more.
// Later transactions remove them on their way: the table of keys would otherwise hold those
// of the last hour, millions at some rates, and they have to be removed once anyway. What
// is not removed here, as that of a process that ends, goes with time.
type answered struct {
	mu   sync.Mutex
	keys [][16]byte
}

const (
	// keysPart is how many keys one transaction removes.
	keysPart = 500
	// maxAnswered is how many may wait for that.
	maxAnswered = 10 * keysPart
)

func (a *answered) add(keys ...[16]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = append(a.keys, keys[:min(len(keys), maxAnswered-len(a.keys))]...)
}

// take returns keys to remove, if there are enough for that to pay.
func (a *answered) take() (keys [][16]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.keys) < keysPart {
		return nil
	}
	keys, a.keys = a.keys[:keysPart:keysPart], a.keys[keysPart:]
	return keys
}

// dropAnswered queues that keys are removed, in a transaction of this engine: nobody knows
// when one of the program ends.
func (b *batch) dropAnswered() {
	u := b.u
	if !u.bounded || u.dropped != nil {
		return
	}
	if u.dropped = u.e.answered.take(); u.dropped != nil {
		b.add(`DELETE FROM @calls c USING (SELECT call FROM @calls WHERE shard = $1 AND call = ANY($2::uuid[]) FOR UPDATE SKIP LOCKED) l
			WHERE c.shard = $1 AND c.call = l.call`, u.dropped)
	}
}

// forgets notes that the outcome of a try is known.
func (u *unit) forgets(committed bool) {
	switch {
	case !committed:
		u.e.answered.add(u.dropped...)
	case u.call != nil:
		u.e.answered.add(*u.call)
	}
}
