package enginetest

import (
	"errors"
	"strconv"
	"sync"

	"github.com/recallmq/recall"
)

// another opens a second engine on the same storage, if that can be.
func (x *fixture) another() (a, b recall.SharedKeeper) {
	x.Helper()
	a = can[recall.SharedKeeper](x)
	if x.h.Another == nil {
		x.Skip("the engine cannot be opened twice")
	}
	e, err := x.h.Another()
	x.check(err, "Another")
	x.TB.(interface{ Cleanup(func()) }).Cleanup(func() { _ = e.Close() })
	b, ok := e.(recall.SharedKeeper)
	if !ok {
		x.Fatal("the second engine keeps no objects")
	}
	return a, b
}

func (x *fixture) applyTo(k recall.Keeper, objects ...recall.Object) {
	x.Helper()
	_, err := k.Apply(x.ctx, recall.Change{Objects: objects, Now: x.now})
	x.check(err, "Apply")
}

var sharedTests = []contractTest{
	{"one object is read by its name", func(x *fixture) {
		k := can[recall.SharedKeeper](x)
		x.apply([]recall.Object{object(recall.ObjectTopic, "a", "1"), object(recall.ObjectTopic, "b", ""), object(recall.ObjectSchedule, "a", "2")})
		for name, want := range map[string][]byte{"a": []byte("1"), "b": {}, "c": nil} {
			o, err := k.Object(x.ctx, recall.ObjectTopic, name)
			x.check(err, "Object")
			if o.Kind != recall.ObjectTopic || o.Name != name || !o.Is(want) {
				x.Errorf("Object %q: got %+v, want %q", name, o, want)
			}
		}
	}},
	{"a revision follows when somebody else changes an object", func(x *fixture) {
		a, b := x.another()
		kinds := []recall.ObjectKind{recall.ObjectTopic, recall.ObjectSchedule}
		for i, kind := range kinds {
			other := kinds[1-i]
			for _, change := range []recall.Object{object(kind, "n", "1"), object(kind, "n", "2"), {Kind: kind, Name: "n"}} {
				was, still := a.Revision(kind), a.Revision(other)
				x.applyTo(b, change)
				x.eventually("another revision", func() bool { return a.Revision(kind) != was })
				if got := a.Revision(other); got != still {
					x.Errorf("kind %d was changed, and the revision of kind %d went from %d to %d", kind, other, still, got)
				}
				o, err := a.Object(x.ctx, kind, "n")
				x.check(err, "Object")
				if !o.Is(change.Value) {
					x.Errorf("Object: got %q, want %q", o.Value, change.Value)
				}
			}
		}
	}},
	{"a change of somebody else is hinted", func(x *fixture) {
		a, b := x.another()
		was := a.Revision(recall.ObjectSchedule)
		x.applyTo(b, object(recall.ObjectSchedule, "n", "1"))
		for a.Revision(recall.ObjectSchedule) == was {
			<-x.e.Hints().Claim
		}
	}},
	{"changes on a condition by two engines both count", func(x *fixture) {
		a, b := x.another()
		const each = 20
		x.applyTo(a, object(recall.ObjectTopic, "n", "0"))
		var wg sync.WaitGroup
		for _, k := range []recall.SharedKeeper{a, b} {
			wg.Go(func() {
				for range each {
					if err := x.increment(k); err != nil {
						x.Errorf("Apply: %v", err)
						return
					}
				}
			})
		}
		wg.Wait()
		x.wantObjects(recall.ObjectTopic, "n="+strconv.Itoa(2*each))
	}},
}

// increment adds 1 to the number that an object is, whatever others do to it.
func (x *fixture) increment(k recall.SharedKeeper) error {
	for {
		o, err := k.Object(x.ctx, recall.ObjectTopic, "n")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(o.Value))
		if err != nil {
			return err
		}
		_, err = k.Apply(x.ctx, recall.Change{
			Objects: []recall.Object{object(recall.ObjectTopic, "n", strconv.Itoa(n+1))}, If: []recall.Object{o}, Now: x.now,
		})
		if !errors.Is(err, recall.ErrObjectChanged) {
			return err
		}
	}
}
