package recall

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
)

// kept is what a broker remembers of one kind of objects: to find one it need
// not ask the engine for all of them.
type kept[V any] struct {
	// turn is held alone by who changes an object, until the change is durable
	// and remembered, and shared by who publishes what follows from an object. It
	// is not held across code of the program, and never taken in a transaction:
	// who holds it may be waiting for that to end.
	turn sync.RWMutex

	mu     sync.RWMutex
	filled bool
	values map[string]V
	faults map[string]error // of the objects that make no sense
}

// fill reads the objects when they are first needed. Everybody calls it before
// taking the turn, so nobody who waits for a commit holds that while it runs.
func (k *kept[V]) fill(read func() ([]Object, error), decode func(Object) (V, error)) error {
	if k.isFilled() {
		return nil
	}
	k.turn.Lock()
	defer k.turn.Unlock()
	if k.isFilled() {
		return nil
	}
	list, err := read()
	if err != nil {
		return err
	}
	values, faults := map[string]V{}, map[string]error{}
	for _, o := range list {
		if v, err := decode(o); err != nil {
			faults[o.Name] = fmt.Errorf("object %q: %w", clip(o.Name), err)
		} else {
			values[o.Name] = v
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.filled, k.values, k.faults = true, values, faults
	return nil
}

// outdate has the objects read again before they are used next.
func (k *kept[V]) outdate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.filled = false
}

func (k *kept[V]) isFilled() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.filled
}

// find returns an object, whether there is one, and why it cannot be used.
func (k *kept[V]) find(name string) (v V, found bool, fault error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if fault = k.faults[name]; fault != nil {
		return v, true, fault
	}
	v, found = k.values[name]
	return v, found, nil
}

// all returns the objects that can be used, in the order of their names, and what
// is wrong with the others.
func (k *kept[V]) all() ([]V, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(k.faults)) {
		faults = append(faults, k.faults[name])
	}
	list := make([]V, 0, len(k.values))
	for _, name := range slices.Sorted(maps.Keys(k.values)) {
		list = append(list, k.values[name])
	}
	return list, errors.Join(faults...)
}

// each visits those that can be used, in no order, and the faults of the others.
func (k *kept[V]) each(visit func(name string, v V, fault error)) {
	k.mu.RLock()
	values, faults := maps.Clone(k.values), maps.Clone(k.faults)
	k.mu.RUnlock()
	for name, v := range values {
		visit(name, v, nil)
	}
	for name, fault := range faults {
		var none V
		visit(name, none, fault)
	}
}

func (k *kept[V]) size() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return len(k.values) + len(k.faults)
}

func (k *kept[V]) remember(name string, v V) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[name] = v
	delete(k.faults, name)
}

func (k *kept[V]) forget(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.values, name)
	delete(k.faults, name)
}
