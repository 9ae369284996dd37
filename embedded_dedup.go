package recall

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// dedupKey stands for an id in memory and file: the first 16 bytes of its
// SHA-256. Among a million ids two have the same with a probability of 10⁻²⁷.
type dedupKey [16]byte

// reservation is the first message with an id.
type reservation struct {
	id ulid.ULID
	at int64 // ms: the publisher's now
}

// reservedIDs are the ids that messages were published with, until their window
// is over. The maps belong to the committer; parts and count are read by others,
// and changed under the engine's mu.
type reservedIDs struct {
	window int64 // ms; 0: nothing is deduplicated
	limit  int
	shards [dedupShards]dedupShard
	parts  []*reservedPart // by time
	count  int             // in all parts
}

const (
	// dedupShards keeps the copy short that a map needs to become smaller.
	dedupShards = 64
	// reservedPartSize is how many ids are dropped in one commit.
	reservedPartSize = 4096
)

// dedupShard holds the ids whose key begins alike.
type dedupShard struct {
	first map[dedupKey]reservation
	peak  int // of its length since it was made
}

// reservedPart is a part of a minute, as the file has it.
type reservedPart struct {
	store.ReservedPart
	keys []dedupKey
}

func newReservedIDs(o *Options) reservedIDs {
	return reservedIDs{window: max(0, o.DeduplicationWindow).Milliseconds(), limit: o.MaxDeduplicationIDs}
}

func (r *reservedIDs) shard(key dedupKey) *dedupShard { return &r.shards[key[0]%dedupShards] }

// find returns the first message with an id, if it is within the window.
func (r *reservedIDs) find(key dedupKey, now int64) (reservation, bool) {
	first, ok := r.shard(key).first[key]
	return first, ok && r.within(first.at, now)
}

// within tells whether an id still counts. After the clock was set back that is
// so for no longer than another window: an id from a day that was a mistake must
// not count until that day.
func (r *reservedIDs) within(at, now int64) bool { return now-at < r.window && at-now < r.window }

// takeIn takes in what is durable. Of two messages with one id the newer counts:
// the window of the older was over.
func (r *reservedIDs) takeIn(p store.ReservedPart, list ...store.Reservation) {
	part := r.part(p)
	for _, x := range list {
		part.keys = append(part.keys, x.Key)
		r.shard(x.Key).admit(x.Key, reservation{x.ID, x.At})
	}
	r.count += len(list)
}

// part returns a part, making it if there is none. New ones are mostly the last.
func (r *reservedIDs) part(p store.ReservedPart) *reservedPart {
	i, found := slices.BinarySearchFunc(r.parts, p, comparePart)
	if found {
		return r.parts[i]
	}
	part := &reservedPart{ReservedPart: p}
	r.parts = append(r.parts, part)
	for k := len(r.parts) - 1; k > i; k-- {
		r.parts[k], r.parts[k-1] = r.parts[k-1], r.parts[k]
	}
	return part
}

func comparePart(have *reservedPart, p store.ReservedPart) int {
	return cmp.Or(cmp.Compare(have.Minute, p.Minute), cmp.Compare(have.Part, p.Part))
}

// discard forgets a part.
func (r *reservedIDs) discard(p store.ReservedPart) {
	i, found := slices.BinarySearchFunc(r.parts, p, comparePart)
	if !found {
		return
	}
	part := r.parts[i]
	r.parts = append(r.parts[:i], r.parts[i+1:]...)
	r.count -= len(part.keys)
	for _, key := range part.keys {
		r.shard(key).expel(key, p)
	}
}

func (s *dedupShard) admit(key dedupKey, x reservation) {
	if s.first == nil {
		s.first = map[dedupKey]reservation{}
	}
	if have, ok := s.first[key]; !ok || bytes.Compare(have.id[:], x.id[:]) < 0 {
		s.first[key] = x
	}
	s.peak = max(s.peak, len(s.first))
}

// expel removes a key, unless it was reserved again in another minute. A map
// keeps the room of what was deleted: one that is nearly empty is made anew.
func (s *dedupShard) expel(key dedupKey, p store.ReservedPart) {
	if x, ok := s.first[key]; !ok || store.PartOf(x.at).Minute != p.Minute {
		return
	}
	if delete(s.first, key); s.peak < 64 || len(s.first) > s.peak/4 {
		return
	}
	smaller := make(map[dedupKey]reservation, len(s.first))
	for k, x := range s.first {
		smaller[k] = x
	}
	s.first, s.peak = smaller, len(smaller)
}

// expired returns a part that can go, or when to look again: the zero time if
// there is none.
func (r *reservedIDs) expired(now int64) (p store.ReservedPart, ok bool, next time.Time) {
	if len(r.parts) == 0 {
		return p, false, next
	}
	first, last := r.parts[0], r.parts[len(r.parts)-1]
	switch end := first.End() + r.window; {
	case r.window == 0 || end <= now:
		return first.ReservedPart, true, next
	case last.Start()-now >= r.window: // the clock was set back
		return last.ReservedPart, true, next
	default:
		return p, false, time.UnixMilli(end)
	}
}

// dropReservedStep drops a part whose window is over.
func (e *embedded) dropReservedStep(ctx context.Context, now time.Time) (next time.Time, did bool, err error) {
	e.mu.Lock()
	p, ok, next := e.reserved.expired(now.UnixMilli())
	e.mu.Unlock()
	if !ok {
		return next, false, nil
	}
	err = e.submit(ctx, &dropReservedWork{p})
	if noRoom(err) {
		return now.Add(fullPause), false, nil
	}
	return next, err == nil, err
}

type dropReservedWork struct{ part store.ReservedPart }

func (w *dropReservedWork) bound() store.Bound  { return upkeepBound(64 << 10) }
func (w *dropReservedWork) write(t *turn) error { return t.tx.DropReserved(w.part) }

func (w *dropReservedWork) apply(e *embedded) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reserved.discard(w.part)
}

// reserving are the ids that a commit in the making reserves.
type reserving struct {
	list   []store.Reservation
	at     map[dedupKey]int // the newest of them in list
	placed []placement
}

// placement is what goes into one part.
type placement struct {
	part store.ReservedPart
	list []store.Reservation
}

// firstWith returns the first message with an id, which may be of this commit.
func (t *turn) firstWith(key dedupKey, now int64) (reservation, bool) {
	if i, ok := t.reserving.at[key]; ok {
		x := t.reserving.list[i]
		return reservation{x.ID, x.At}, t.e.reserved.within(x.At, now)
	}
	return t.e.reserved.find(key, now)
}

// reserve notes the first message with an id.
func (t *turn) reserve(key dedupKey, x reservation) {
	s := &t.reserving
	if s.at == nil {
		s.at = map[dedupKey]int{}
	}
	s.at[key] = len(s.list)
	s.list = append(s.list, store.Reservation{Key: key, ID: x.id, At: x.at})
}

// writeReserved stores what the commit has reserved.
func (t *turn) writeReserved() error {
	t.reserving.placed = t.e.reserved.place(t.reserving.list)
	for _, p := range t.reserving.placed {
		if err := t.tx.Reserve(p.part, p.list); err != nil {
			return err
		}
	}
	return nil
}

// place finds parts for what is reserved: the newest of each minute, until it is
// full.
func (r *reservedIDs) place(list []store.Reservation) (out []placement) {
	minuteOf := func(x store.Reservation) int64 { return store.PartOf(x.At).Minute }
	slices.SortStableFunc(list, func(a, b store.Reservation) int { return cmp.Compare(minuteOf(a), minuteOf(b)) })
	for len(list) > 0 {
		p, room := r.newest(store.PartOf(list[0].At))
		n := 1
		for n < len(list) && minuteOf(list[n]) == p.Minute {
			n++
		}
		for same := list[:n]; len(same) > 0; p.Part, room = p.Part+1, reservedPartSize {
			k := min(room, len(same))
			if k > 0 {
				out = append(out, placement{p, same[:k]})
			}
			same = same[k:]
		}
		list = list[n:]
	}
	return out
}

// newest returns the last part of a minute and the room in it.
func (r *reservedIDs) newest(p store.ReservedPart) (last store.ReservedPart, room int) {
	for i := len(r.parts) - 1; i >= 0 && r.parts[i].Minute >= p.Minute; i-- {
		if have := r.parts[i]; have.Minute == p.Minute {
			return have.ReservedPart, max(0, reservedPartSize-len(have.keys))
		}
	}
	return p, reservedPartSize
}

// applyReserved takes in what the commit has reserved, behind the drops in it.
func (e *embedded) applyReserved(placed []placement) {
	if len(placed) == 0 {
		return
	}
	fresh := false
	for _, p := range placed {
		e.mu.Lock()
		fresh = fresh || len(e.reserved.parts) == 0
		e.reserved.takeIn(p.part, p.list...)
		e.mu.Unlock()
	}
	if fresh { // nobody waits for the end of a window yet
		hint(e.upkeepHint)
	}
}

// unique is what an insertWork knows of messages with an id.
type unique struct {
	ids   []uniqueRow // by row; nil if no message has an id
	keyed int         // messages with an id
	// refused are the messages whose ids find no room. With any, nothing is written.
	refused []int
}

type uniqueRow struct {
	key       dedupKey
	has       bool
	duplicate bool
	first     reservation // of which it is one
	twin      int         // or the row of the same call, counted from 1
}

// identify looks for messages with an id. Work that is not asked to has no
// duplicates: what follows an outcome, and what is redriven.
func (w *insertWork) identify(r *reservedIDs) {
	for i := range w.msgs {
		id := w.msgs[i].DeduplicationID
		if id == "" || r.window == 0 {
			continue
		}
		if w.ids == nil {
			w.ids = make([]uniqueRow, len(w.msgs))
		}
		sum := sha256.Sum256([]byte(id))
		w.ids[i].key, w.ids[i].has = dedupKey(sum[:]), true
		w.keyed++
	}
}

// room is what the ids take of the file.
func (u *unique) room() int64 {
	return int64(u.keyed) * 2 * (store.ReservedBytes + store.ReservedRowBytes)
}

// decide says which messages are duplicates, before any of them is numbered. If
// there is no room for the ids of the others, nothing may be written.
func (w *insertWork) decide(t *turn) bool {
	w.refused = nil
	if w.ids == nil {
		return true
	}
	room := t.e.reserved.limit - t.e.reserved.count - len(t.reserving.list)
	fresh := make(map[dedupKey]int, w.keyed)
	for i := range w.ids {
		u := &w.ids[i]
		if !u.has {
			continue
		}
		u.twin = 0
		if u.first, u.duplicate = t.firstWith(u.key, w.now); u.duplicate {
			continue
		}
		if u.twin, u.duplicate = fresh[u.key]; u.duplicate {
			continue
		}
		if len(fresh) >= room {
			w.refused = append(w.refused, i)
			continue
		}
		fresh[u.key] = i + 1
	}
	return !w.isRefused()
}

// isRefused tells whether nothing was written.
func (u *unique) isRefused() bool { return len(u.refused) > 0 }

// isDuplicate tells whether a message is not to be stored; then its row gets the
// id of the first.
func (w *insertWork) isDuplicate(i int) bool {
	if w.ids == nil || !w.ids[i].duplicate {
		return false
	}
	r, u := &w.rows[i], &w.ids[i]
	if u.twin > 0 {
		u.first = reservation{w.rows[u.twin-1].id, w.now}
	}
	r.seq, r.taken, r.id = 0, nil, u.first.id
	return true
}

// reserve reserves the id of a message that was numbered.
func (w *insertWork) reserve(t *turn, i int) {
	if w.ids != nil && w.ids[i].has {
		t.reserve(w.ids[i].key, reservation{w.rows[i].id, w.now})
	}
}

// deduplicated makes the receipt of a duplicate tell so.
func (w *insertWork) deduplicated(i int, r *Receipt) {
	if w.ids == nil || !w.ids[i].duplicate {
		return
	}
	r.Deduplicated = true
	if w.ids[i].twin == 0 {
		r.CreatedAt = time.UnixMilli(w.ids[i].first.at)
	}
}
