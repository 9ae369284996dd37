package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// A change of topics or of schedules counts up a counter, in its transaction and behind
// the lock of publications. Who finds another number than it has left there knows that
// somebody else has changed something.

// Names of counters of objects.
const (
	counterTopics    = "topics"
	counterSchedules = "schedules"
)

// counted are the objects whose changes are counted. Times of schedules change with
// each time, and are not: who needs them reads them.
var counted = map[recall.ObjectKind]string{recall.ObjectTopic: counterTopics, recall.ObjectSchedule: counterSchedules}

// revisions are what is known of the counters of objects.
type revisions struct {
	mu    sync.Mutex
	kinds map[recall.ObjectKind]*revision
}

type revision struct {
	seen    int64          // the number that was found last
	own     map[int64]bool // numbers above it that changes of this engine have made
	foreign uint64         // goes up when there are others
}

func newRevisions() *revisions {
	r := &revisions{kinds: map[recall.ObjectKind]*revision{}}
	for kind := range counted {
		r.kinds[kind] = &revision{own: map[int64]bool{}}
	}
	return r
}

// made notes the number of a change of this engine.
func (r *revisions) made(kind recall.ObjectKind, n int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v := r.kinds[kind]; n > v.seen { // else it was taken for somebody else's
		v.own[n] = true
	}
}

// found notes what a counter shows, and reports whether somebody else has changed
// something since the last time.
func (r *revisions) found(kind recall.ObjectKind, n int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.kinds[kind]
	others := n - v.seen
	for own := range v.own {
		if own <= n {
			delete(v.own, own)
			others--
		}
	}
	v.seen = n
	if others == 0 {
		return false
	}
	v.foreign++
	return true
}

// Revision implements [recall.SharedKeeper]. What another process has changed shows
// within Options.PollInterval.
func (e *Engine) Revision(kind recall.ObjectKind) uint64 {
	e.revisions.mu.Lock()
	defer e.revisions.mu.Unlock()
	if v := e.revisions.kinds[kind]; v != nil {
		return v.foreign
	}
	return 0
}

// Object implements [recall.SharedKeeper].
func (e *Engine) Object(ctx context.Context, kind recall.ObjectKind, name string) (recall.Object, error) {
	o := recall.Object{Kind: kind, Name: name}
	if err := e.enter(ctx); err != nil {
		return o, err
	}
	defer e.leave()
	if !isText(name) { // nothing is called so
		return o, nil
	}
	list, err := collectFrom(ctx, e.pool, e, pgx.RowTo[[]byte],
		`SELECT value FROM @objects WHERE shard = $1 AND kind = $2 AND name = $3`, kind, name)
	if len(list) > 0 {
		o.Value = list[0]
	}
	return o, err
}

// countChanges counts changes of objects.
func (u *unit) countChanges(objects []recall.Object) error {
	for i := range objects {
		kind := objects[i].Kind
		if _, done := u.changed[kind]; done || counted[kind] == "" {
			continue
		}
		var n int64
		_, err := u.get(`UPDATE @counters SET n = n + 1 WHERE shard = $1 AND name = $2 RETURNING n`, []any{counted[kind]}, &n)
		if err != nil {
			return err
		}
		if u.changed == nil {
			u.changed = map[recall.ObjectKind]int64{}
		}
		u.changed[kind] = n
	}
	return nil
}
