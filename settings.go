package recall

import (
	"context"
	"errors"
	"time"
)

// changeSettings reads, changes and writes the settings of a queue or a flow-control
// key, which are nil if there are none.
func (b *Broker) changeSettings(
	ctx context.Context, kind ObjectKind, name string, change func(value []byte, now time.Time) ([]byte, error),
) error {
	k, err := asEngine[Keeper](b, ctx)
	if err != nil {
		return err
	}
	defer b.end()
	b.settings.Lock()
	defer b.settings.Unlock()
	for tries := 1; ; tries++ {
		now := milliseconds(b.clock.Now())
		have, err := objectValue(ctx, k, kind, name)
		if err != nil {
			return err
		}
		value, err := change(have, now)
		if err != nil {
			return err
		}
		c := Change{Objects: []Object{{Kind: kind, Name: name, Value: value}}, Now: now}
		if tries < mostTries {
			c.If = []Object{{Kind: kind, Name: name, Value: have}}
		}
		if _, err = k.Apply(ctx, c); !errors.Is(err, ErrObjectChanged) {
			return err
		}
	}
}

// mostTries is how often settings are read again that a message has changed
// meanwhile. After that the change holds, and what the message brought does not.
const mostTries = 10

// objectValue returns the value of one object, nil if there is none.
func objectValue(ctx context.Context, k Keeper, kind ObjectKind, name string) ([]byte, error) {
	if s, ok := k.(SharedKeeper); ok {
		o, err := s.Object(ctx, kind, name)
		return o.Value, err
	}
	list, err := k.Objects(ctx, kind)
	for _, o := range list {
		if o.Name == name {
			return o.Value, err
		}
	}
	return nil, err
}
