package recall

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/recallmq/recall/store"
)

// Objects implements [Keeper].
func (e *embedded) Objects(ctx context.Context, kind ObjectKind) ([]Object, error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	have := e.objects[kind]
	list := make([]Object, 0, len(have))
	for _, name := range slices.Sorted(maps.Keys(have)) {
		list = append(list, Object{Kind: kind, Name: name, Value: bytes.Clone(have[name])})
	}
	return list, nil
}

// Apply implements [Keeper].
func (e *embedded) Apply(ctx context.Context, c Change) ([]Receipt, error) {
	if err := e.checkOpen(ctx); err != nil {
		return nil, err
	}
	w := &objectWork{objects: slices.Clone(c.Objects), unchanged: c.If}
	for i := range w.objects {
		w.objects[i].Value = bytes.Clone(w.objects[i].Value)
	}
	if err := w.insert.encode(c.Messages, c.Now.UnixMilli()); err != nil {
		return nil, err
	}
	w.insert.identify(&e.reserved)
	e.measure(&w.insert)
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	if w.refused != nil {
		return nil, w.refused
	}
	return w.insert.outcome(c.Now)
}

// objectWork changes objects, and publishes messages with that.
type objectWork struct {
	objects   []Object
	unchanged []Object // must be so
	insert    insertWork
	refused   error // why nothing was written
	needed    bool  // it has room where nothing can be published
}

func (w *objectWork) bound() store.Bound {
	b := w.insert.bound()
	b.Essential = w.needed
	for _, o := range w.objects {
		b.Rows += 2 + len(o.Value)/2048
		b.Bytes += int64(len(o.Name) + len(o.Value) + 256)
		switch {
		case o.Kind == ObjectQueue && o.Value == nil: // a message of the same commit may make it anew
			b.Bytes += settingsRoom
		case o.Kind == ObjectFlow: // what was used of it
			b.Rows, b.Bytes = b.Rows+2, b.Bytes+settingsRoom
		}
	}
	return b
}

// write begins with the messages: without them no object is changed.
func (w *objectWork) write(t *turn) error {
	if w.refuses(t) {
		return nil
	}
	if len(w.insert.rows) > 0 {
		if err := w.insert.write(t); err != nil || w.insert.isRefused() {
			return err
		}
	}
	for _, o := range w.objects {
		t.noteObject(o)
	}
	return nil
}

// refuses tells whether nothing must be written, and notes why.
func (w *objectWork) refuses(t *turn) bool {
	switch w.refused = nil; {
	case slices.ContainsFunc(w.unchanged, t.hasChanged):
		w.refused = ErrObjectChanged
	case slices.ContainsFunc(w.objects, t.keepsQueue):
		w.refused = ErrQueueNotEmpty
	}
	return w.refused != nil
}

// hasChanged tells whether an object is not what o says, as of this point of the
// commit.
func (t *turn) hasChanged(o Object) bool {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	return !o.Is(t.objectLocked(o.Kind, o.Name))
}

// keepsQueue tells whether o would delete a queue that has messages, those included
// that this commit publishes. Those whose last attempt runs do not count.
func (t *turn) keepsQueue(o Object) bool {
	if o.Kind != ObjectQueue || o.Value != nil {
		return false
	}
	for _, w := range t.inserts {
		if w.fills(o.Name) {
			return true
		}
	}
	t.e.lockCounted()
	defer t.e.mu.Unlock()
	queues := t.e.live.fields[fieldQueue]
	n := queues.lookup(o.Name)
	return n != 0 && queues.live[n] > 0
}

// fills tells whether w publishes to a queue.
func (w *insertWork) fills(queue string) bool {
	for i := range w.rows {
		if r := &w.rows[i]; r.seq != 0 && r.taken == nil && w.msgs[i].Queue == queue {
			return true
		}
	}
	return false
}

// apply has nothing to do: the turn applies objects, and the messages of all works
// together.
func (w *objectWork) apply(*embedded) {}

// objectKey names an object.
type objectKey struct {
	kind ObjectKind
	name string
}

// setObjectLocked brings memory up to a change.
func (e *embedded) setObjectLocked(o Object) {
	have := e.objects[o.Kind]
	if have == nil {
		have = map[string][]byte{}
		e.objects[o.Kind] = have
	}
	if have[o.Name] = o.Value; o.Value == nil {
		delete(have, o.Name)
	}
	switch o.Kind {
	case ObjectFlow:
		e.setFlowLocked(o.Name, o.Value)
	case ObjectQueue:
		e.setQueueLocked(o.Name, o.Value)
	}
}

// settingsRoom is what the settings of a queue or a key take, with the name.
const settingsRoom = 512

// measure says how much room settings needs. What is unknown now may be known by
// then, and no more than that.
func (e *embedded) measure(w *insertWork) {
	const each = settingsRoom
	w.sets = 0
	plain := true
	for i := range w.msgs {
		plain = plain && w.msgs[i].Queue == "" && w.msgs[i].Flow == nil
	}
	if plain {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range w.msgs {
		if m := &w.msgs[i]; m.Queue != "" && e.objects[ObjectQueue][m.Queue] == nil {
			w.sets += each
		}
		if w.msgs[i].Flow != nil {
			w.sets += 2 * each // the settings, and what was used
		}
	}
}

// settings notes what the publication of a message changes beside it: an unknown
// queue comes into being, and the limit of a flow-control key follows the newest
// message.
func (t *turn) settings(w *insertWork, i int) {
	m := &w.msgs[i]
	if m.Queue == "" && m.Flow == nil {
		return
	}
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	if m.Queue != "" {
		t.makeQueueLocked(m.Queue, w.now)
	}
	if m.Flow == nil {
		return
	}
	have := t.flowLocked(m.FlowKey)
	if after := have.After(*m.Flow); after != have {
		t.noteObjectLocked(Object{Kind: ObjectFlow, Name: m.FlowKey, Value: encodeJSON(after)})
	}
}

// makeQueueLocked has a queue that is not there come into being.
func (t *turn) makeQueueLocked(name string, now int64) {
	if t.objectLocked(ObjectQueue, name) != nil {
		return
	}
	at := time.UnixMilli(now)
	value := encodeJSON(QueueSettings{Parallelism: 1, CreatedAt: at, UpdatedAt: at})
	t.noteObjectLocked(Object{Kind: ObjectQueue, Name: name, Value: value})
}

// objectLocked returns the value of an object as of this point of the commit, nil
// if there is none.
func (t *turn) objectLocked(kind ObjectKind, name string) []byte {
	if value, changed := t.objects[objectKey{kind, name}]; changed {
		return value
	}
	return t.e.objects[kind][name]
}

// flowLocked returns the settings of a key as of this point of the commit. Those
// of before are decoded already: most messages do not change them.
func (t *turn) flowLocked(name string) FlowSettings {
	if value, changed := t.objects[objectKey{ObjectFlow, name}]; changed {
		return flowSettings(value)
	}
	if k := t.e.flows.byName[name]; k != nil {
		return k.set
	}
	return FlowSettings{}
}

func (t *turn) noteObject(o Object) {
	t.e.mu.Lock()
	defer t.e.mu.Unlock()
	t.noteObjectLocked(o)
}

// noteObjectLocked has the commit change an object, whatever the works before in it
// made of it.
func (t *turn) noteObjectLocked(o Object) {
	if t.objects == nil {
		t.objects = map[objectKey][]byte{}
	}
	t.objects[objectKey{o.Kind, o.Name}] = o.Value
	if o.Kind != ObjectFlow {
		return
	}
	if use, ok := t.e.growsLocked(o.Name, o.Value); ok {
		t.objects[objectKey{use.Kind, use.Name}] = use.Value
	}
}

// writeObjects writes what became of the objects.
func (t *turn) writeObjects() error {
	for key, value := range t.objects {
		var err error
		if value == nil {
			err = t.tx.DeleteObject(byte(key.kind), key.name)
		} else {
			err = t.tx.PutObject(byte(key.kind), key.name, value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
