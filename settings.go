package recall

import (
	"context"
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
	now := milliseconds(b.clock.Now())
	value, err := objectValue(ctx, k, kind, name)
	if err != nil {
		return err
	}
	if value, err = change(value, now); err != nil {
		return err
	}
	_, err = k.Apply(ctx, Change{Objects: []Object{{Kind: kind, Name: name, Value: value}}, Now: now})
	return err
}

// objectValue returns the value of one object, nil if there is none.
func objectValue(ctx context.Context, k Keeper, kind ObjectKind, name string) ([]byte, error) {
	list, err := k.Objects(ctx, kind)
	for _, o := range list {
		if o.Name == name {
			return o.Value, err
		}
	}
	return nil, err
}
