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
		if o.Kind == ObjectQueue && o.Value == nil { // a message of the same commit may make it anew
			b.Bytes += settingsRoom
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
		if err := w.insert.write(t); err != nil || w.insert.full {
			return err
		}
	}
	for _, o := range w.objects {
		var err error
		if o.Value == nil {
			err = t.tx.DeleteObject(byte(o.Kind), o.Name)
		} else {
			err = t.tx.PutObject(byte(o.Kind), o.Name, o.Value)
		}
		if err != nil {
			return err
		}
		t.overrule(o)
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
	return !o.Is(t.objectLocked(objectKey{o.Kind, o.Name}))
}

// objectLocked is the value of an object as of this point of the commit.
func (t *turn) objectLocked(key objectKey) []byte {
	for _, values := range []map[objectKey][]byte{t.objects, t.overruled} {
		if value, ok := values[key]; ok {
			return value
		}
	}
	return t.e.objects[key.kind][key.name]
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

// overrule notes that this commit sets an object, or deletes it, whatever messages
// before have brought. Those behind go by what it is then: they make a queue anew.
func (t *turn) overrule(o Object) {
	if o.Kind != ObjectQueue && o.Kind != ObjectFlow {
		return
	}
	if t.overruled == nil {
		t.overruled = map[objectKey][]byte{}
	}
	key := objectKey{o.Kind, o.Name}
	delete(t.objects, key)
	t.overruled[key] = o.Value
}

func (w *objectWork) apply(e *embedded) {
	if w.insert.full || w.refused != nil {
		return
	}
	e.mu.Lock()
	for _, o := range w.objects {
		e.setObjectLocked(o)
	}
	e.mu.Unlock()
	w.insert.apply(e)
}

func (w *objectWork) inserted() *insertWork {
	if w.refused != nil {
		return nil
	}
	return w.insert.inserted()
}

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
			w.sets += each
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
	key := objectKey{ObjectFlow, m.FlowKey}
	var have FlowSettings
	if value, ok := t.overruled[key]; ok {
		have = flowSettings(value)
	} else if k := t.e.flows.byName[m.FlowKey]; k != nil {
		have = k.set
	}
	_, noted := t.objects[key]
	if after := have.After(*m.Flow); noted || after != have {
		t.noteObject(key, encodeJSON(after))
	}
}

// makeQueueLocked has a queue that is not there come into being.
func (t *turn) makeQueueLocked(name string, now int64) {
	key := objectKey{ObjectQueue, name}
	if t.objectLocked(key) != nil {
		return
	}
	at := time.UnixMilli(now)
	t.noteObject(key, encodeJSON(QueueSettings{Parallelism: 1, CreatedAt: at, UpdatedAt: at}))
}

// noteObject changes an object at the end of the commit.
func (t *turn) noteObject(key objectKey, value []byte) {
	if t.objects == nil {
		t.objects = map[objectKey][]byte{}
	}
	t.objects[key] = value
}
