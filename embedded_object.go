package recall

import (
	"bytes"
	"context"
	"maps"
	"slices"

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
	w := &objectWork{objects: slices.Clone(c.Objects)}
	for i := range w.objects {
		w.objects[i].Value = bytes.Clone(w.objects[i].Value)
	}
	if err := w.insert.encode(c.Messages, c.Now.UnixMilli()); err != nil {
		return nil, err
	}
	w.insert.identify(&e.reserved)
	if err := e.submit(ctx, w); err != nil {
		return nil, err
	}
	return w.insert.outcome(c.Now)
}

// objectWork changes objects, and publishes messages with that.
type objectWork struct {
	objects []Object
	insert  insertWork
}

func (w *objectWork) bound() store.Bound {
	b := w.insert.bound()
	for _, o := range w.objects {
		b.Rows += 2 + len(o.Value)/2048
		b.Bytes += int64(len(o.Name) + len(o.Value) + 256)
	}
	return b
}

// write begins with the messages: without them no object is changed.
func (w *objectWork) write(t *turn) error {
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
	}
	return nil
}

func (w *objectWork) apply(e *embedded) {
	if w.insert.full {
		return
	}
	e.mu.Lock()
	for _, o := range w.objects {
		e.setObjectLocked(o)
	}
	e.mu.Unlock()
	w.insert.apply(e)
}

func (w *objectWork) inserted() *insertWork { return w.insert.inserted() }

// setObjectLocked brings memory up to a change.
func (e *embedded) setObjectLocked(o Object) {
	have := e.objects[o.Kind]
	if o.Value == nil {
		delete(have, o.Name)
		return
	}
	if have == nil {
		have = map[string][]byte{}
		e.objects[o.Kind] = have
	}
	have[o.Name] = o.Value
}
