package qstash

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// Keys are the two signing keys of a queue. Deliveries are signed with the
// current one, and receivers that are asked to accept both do not notice a
// rotation:
//
//	keys := qstash.NewKeys(current, next)
//	b, err := recall.Open("queue.db", &recall.Options{OnRequest: keys.OnRequest})
//	…
//	handler := qstash.NewHandler(b, &qstash.Options{Keys: keys})
//
// Keys belong to one broker, and a broker to one Keys: [NewHandler], [NewUsers]
// or [Keys.Bind] bind them. Until then deliveries wait, because the file of the
// broker may know of a rotation.
//
// A rotation, and keys that were made up, are kept in the file or database of the
// broker as they are, in the bucket "recall/qstash"; with an engine that is no
// [recall.Transactor] they are kept in memory only, and are those of NewKeys
// again after a restart. What was kept holds as long as NewKeys is given the
// same: other keys, which somebody has set on purpose, win over it.
//
// Several processes on one database have the same keys, if NewKeys is given the
// same in each: of those that make up a pair at the same time one wins, and a
// rotation is seen by the others within a second.
//
// All methods are safe for concurrent use.
type Keys struct {
	given  keyPair
	bound  chan struct{} // closed when broker is set
	broker atomic.Pointer[recall.Broker]

	turn sync.Mutex // held across a commit by who reads or changes what is kept
	pair atomic.Pointer[knownPair]
}

// knownPair is what was read last. Another process may have rotated it since.
type knownPair struct {
	keyPair
	at time.Time
}

// keysAge is how long a pair is good for without a look.
const keysAge = time.Second

type keyPair struct {
	Current string `json:"current"`
	Next    string `json:"next"`
}

// NewKeys returns the keys to begin with. One that is empty is made up when it
// is needed first, and kept.
func NewKeys(current, next string) *Keys {
	return &Keys{given: keyPair{current, next}, bound: make(chan struct{})}
}

// ErrKeysBound is returned by [Keys.Bind] for keys that belong to another broker.
var ErrKeysBound = errors.New("qstash: the signing keys belong to another broker")

// errKeysNotBound says what to do, as it ends up with the failed attempt.
var errKeysNotBound = errors.New("qstash: the signing keys belong to no broker: give them to NewHandler, or call Bind")

// Bind makes the keys those of b, and lets deliveries that have waited for it
// go on. Doing it twice changes nothing; for another broker it is ErrKeysBound.
// It need not be called where [NewHandler] or [NewUsers] gets the keys.
func (k *Keys) Bind(b *recall.Broker) error {
	if k.broker.CompareAndSwap(nil, b) {
		close(k.bound)
		return nil
	}
	if k.broker.Load() != b {
		return ErrKeysBound
	}
	return nil
}

func (k *Keys) canBind(b *recall.Broker) bool {
	owner := k.broker.Load()
	return owner == nil || owner == b
}

// Get returns the keys. It waits until they are bound.
//
// Errors: those of [recall.Broker.Lookup], and of [recall.Broker.Update] when
// keys are made up.
func (k *Keys) Get(ctx context.Context) (current, next string, err error) {
	pair, err := k.get(ctx)
	return pair.Current, pair.Next, err
}

func (k *Keys) get(ctx context.Context) (keyPair, error) {
	if known := k.pair.Load(); known != nil {
		return k.refreshed(ctx, known), nil
	}
	select {
	case <-k.bound:
	case <-ctx.Done():
		return keyPair{}, fmt.Errorf("%w: %w", errKeysNotBound, ctx.Err())
	}
	k.turn.Lock()
	defer k.turn.Unlock()
	return k.read(ctx)
}

// refreshed looks whether a pair that was read some time ago has been rotated
// elsewhere. One goroutine looks; if it cannot, and for the others, it is as it was.
func (k *Keys) refreshed(ctx context.Context, known *knownPair) keyPair {
	if age := k.now().Sub(known.at); age >= 0 && age < keysAge || !k.turn.TryLock() {
		return known.keyPair
	}
	defer k.turn.Unlock()
	pair := k.pair.Load().keyPair
	if kept, err := k.lookup(ctx); err == nil && kept != (keyPair{}) {
		pair = kept
	}
	k.know(pair)
	return pair
}

func (k *Keys) now() time.Time { return k.broker.Load().Options().Clock.Now() }

// know remembers a pair. It needs turn.
func (k *Keys) know(pair keyPair) { k.pair.Store(&knownPair{pair, k.now()}) }

// read makes what is kept, or was given, the keys. It needs turn.
func (k *Keys) read(ctx context.Context) (keyPair, error) {
	if known := k.pair.Load(); known != nil {
		return known.keyPair, nil
	}
	pair, err := k.lookup(ctx)
	if err != nil {
		return keyPair{}, err
	}
	if pair == (keyPair{}) {
		pair = k.given
	}
	if pair.Current == "" || pair.Next == "" {
		pair, err = k.change(ctx, func(kept keyPair) keyPair {
			if kept != (keyPair{}) { // another process was first
				return kept
			}
			return k.given.completed()
		})
		if err != nil {
			return keyPair{}, err
		}
	}
	k.know(pair)
	return pair, nil
}

// completed makes up what is empty.
func (p keyPair) completed() keyPair {
	if p.Current == "" {
		p.Current = newSigningKey()
	}
	if p.Next == "" {
		p.Next = newSigningKey()
	}
	return p
}

// Rotate makes the next key the current one, and a new one the next. It is
// durable when it returns, see [Keys]. Receivers have to learn of the new pair
// before the rotation after this one.
//
// Errors: as for Get, and those of [recall.Broker.Update]; then nothing has
// changed.
func (k *Keys) Rotate(ctx context.Context) (current, next string, err error) {
	if _, err := k.get(ctx); err != nil {
		return "", "", err
	}
	k.turn.Lock()
	defer k.turn.Unlock()
	pair, err := k.change(ctx, func(kept keyPair) keyPair {
		if kept == (keyPair{}) {
			kept = k.pair.Load().keyPair
		}
		return keyPair{kept.Next, newSigningKey()}
	})
	if err != nil {
		return "", "", err
	}
	k.know(pair)
	return pair.Current, pair.Next, nil
}

// OnRequest gives a delivery the headers that QStash's have, and signs it: it is
// for [recall.Options].OnRequest. Each attempt has a signature of its own, which
// holds for five minutes by the clock of the broker. See also the function
// [OnRequest], which does not sign.
//
// The attempt fails if the keys cannot be read, or if they are bound to no broker
// until its deadline.
func (k *Keys) OnRequest(r *http.Request, d *recall.Delivery) error {
	if err := OnRequest(r, d); err != nil {
		return err
	}
	pair, err := k.get(r.Context())
	if err != nil {
		return err
	}
	signature, err := sign(pair.Current, d)
	if err != nil {
		return err
	}
	r.Header.Set(headerSignature, signature)
	return nil
}
