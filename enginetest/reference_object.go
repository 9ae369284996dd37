package enginetest

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/recallmq/recall"
)

type objectName struct {
	kind recall.ObjectKind
	name string
}

// Objects implements [recall.Keeper].
func (r *Reference) Objects(ctx context.Context, kind recall.ObjectKind) (list []recall.Object, err error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	for at, value := range r.objects {
		if at.kind == kind {
			list = append(list, recall.Object{Kind: kind, Name: at.name, Value: bytes.Clone(value)})
		}
	}
	slices.SortFunc(list, func(a, b recall.Object) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Apply implements [recall.Keeper].
func (r *Reference) Apply(ctx context.Context, c recall.Change) ([]recall.Receipt, error) {
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	defer r.mu.Unlock()
	for _, o := range c.If {
		if !o.Is(r.objects[objectName{o.Kind, o.Name}]) {
			return nil, recall.ErrObjectChanged
		}
	}
	if slices.ContainsFunc(c.Objects, r.keepsQueue) {
		return nil, recall.ErrQueueNotEmpty
	}
	for _, o := range c.Objects {
		at := objectName{o.Kind, o.Name}
		r.revisions[o.Kind]++
		if o.Value == nil {
			delete(r.objects, at)
		} else {
			r.objects[at] = append([]byte{}, o.Value...)
		}
	}
	r.commits++
	hint(r.claim)
	return r.insert(c.Messages, c.Now), nil
}

// Object implements [recall.SharedKeeper]: several brokers may be on one reference.
func (r *Reference) Object(ctx context.Context, kind recall.ObjectKind, name string) (recall.Object, error) {
	if err := r.begin(ctx); err != nil {
		return recall.Object{}, err
	}
	defer r.mu.Unlock()
	return recall.Object{Kind: kind, Name: name, Value: bytes.Clone(r.objects[objectName{kind, name}])}, nil
}

// Revision implements [recall.SharedKeeper].
func (r *Reference) Revision(kind recall.ObjectKind) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.revisions[kind]
}

// keepsQueue tells whether o would delete a queue that has messages. Those whose
// last attempt runs do not count.
func (r *Reference) keepsQueue(o recall.Object) bool {
	return o.Kind == recall.ObjectQueue && o.Value == nil &&
		slices.ContainsFunc(r.live, func(e *entry) bool { return e.m.Queue == o.Name && !e.requested })
}
