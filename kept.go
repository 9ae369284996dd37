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
	// reading is held by who reads all of them.
	reading sync.Mutex

	mu       sync.RWMutex
	filled   bool
	revision uint64 // what the engine's was when they were read
	reads    int    // how often they were
	values   map[string]V
	faults   map[string]error // of the objects that make no sense
	changed  map[string]bool  // here, since somebody has begun to read them; else nil
}

// fill reads the objects when they are first needed, and when their revision is
// another one than it was. Everybody calls it before taking the turn.
func (k *kept[V]) fill(revision func() uint64, read func() ([]Object, error), decode func(Object) (V, error)) error {
	if k.isFilled(revision()) {
		return nil
	}
	k.reading.Lock()
	defer k.reading.Unlock()
	as := revision() // before they are read: what is changed meanwhile is another one
	if k.isFilled(as) {
		return nil
	}
	k.watch()
	list, err := read()
	if err != nil {
		return err
	}
	values, faults := map[string]V{}, map[string]error{}
	for _, o := range list {
		if v, err := decode(o); err != nil {
			faults[o.Name] = faultOf(o.Name, err)
		} else {
			values[o.Name] = v
		}
	}
	k.replace(values, faults, as)
	return nil
}

func faultOf(name string, err error) error { return fmt.Errorf("object %q: %w", clip(name), err) }

// watch has what is changed here noted.
func (k *kept[V]) watch() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.changed = map[string]bool{}
}

// replace takes what was read, but for what was changed here since the watch.
func (k *kept[V]) replace(values map[string]V, faults map[string]error, revision uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.changed {
		delete(values, name)
		delete(faults, name)
		if v, ok := k.values[name]; ok {
			values[name] = v
		}
	}
	k.filled, k.revision, k.values, k.faults, k.changed = true, revision, values, faults, nil
	k.reads++
}

// outdate has the objects read again before they are used next.
func (k *kept[V]) outdate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.filled = false
}

func (k *kept[V]) isFilled(revision uint64) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.filled && k.revision == revision
}

// timesRead is how often they were read; 0: they are not known yet.
func (k *kept[V]) timesRead() int {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.reads
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

// remember notes what an object is, durably, and since the objects had been read so
// many times. If they were read again, that may have brought what is newer.
func (k *kept[V]) remember(name string, v V, reads int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noteLocked(name, reads)
	k.values[name] = v
}

// forget is remember for an object that is gone.
func (k *kept[V]) forget(name string, reads int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.noteLocked(name, reads)
	delete(k.values, name)
}

func (k *kept[V]) noteLocked(name string, reads int) {
	if k.reads != reads {
		k.filled = false
	}
	if k.changed != nil {
		k.changed[name] = true
	}
	delete(k.faults, name)
}

// current is an object as a change finds it.
type current[V any] struct {
	value V
	found bool
	fault error    // why it cannot be used
	was   []Object // what it has to be still when the change is made; nil: nobody else changes it
	reads int      // how often they were read before
}

// known returns an object that nobody else changes.
func (k *kept[V]) known(name string) (c current[V]) {
	c.reads = k.timesRead()
	c.value, c.found, c.fault = k.find(name)
	return c
}
