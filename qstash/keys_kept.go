package qstash

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/recallmq/recall"
)

// Where the keys are kept in the file of their broker.
const (
	keysBucket = "recall/qstash"
	keysKey    = "signing keys"
)

// keptKeys is the row. Given is a hash of the keys that NewKeys was given.
type keptKeys struct {
	keyPair
	Given string `json:"given"`
}

// fingerprint tells pairs apart without naming them.
func (p keyPair) fingerprint() string {
	sum := sha256.Sum256([]byte(p.Current + "\x00" + p.Next))
	return hex.EncodeToString(sum[:])
}

// lookup returns the keys that are kept, empty ones if there are none or they
// have followed from others than were given now.
func (k *Keys) lookup(ctx context.Context) (keyPair, error) {
	row, err := k.broker.Load().Lookup(ctx, keysBucket, []byte(keysKey))
	if errors.Is(err, recall.ErrUnsupported) {
		return keyPair{}, nil
	}
	if err != nil {
		return keyPair{}, fmt.Errorf("the signing keys cannot be read: %w", err)
	}
	return k.parse(row)
}

// parse reads the row; nil is none.
func (k *Keys) parse(row []byte) (keyPair, error) {
	if row == nil {
		return keyPair{}, nil
	}
	var kept keptKeys
	if err := json.Unmarshal(row, &kept); err != nil || kept.Current == "" || kept.Next == "" {
		return keyPair{}, fmt.Errorf("what is kept of the signing keys is damaged: %w", recall.ErrCorrupt)
	}
	if kept.Given != k.given.fingerprint() {
		return keyPair{}, nil
	}
	return kept.keyPair, nil
}

// change makes what follows from the keys that are kept durable, where the engine can.
// It is one transaction: processes that do so at the same time come one after the other.
func (k *Keys) change(ctx context.Context, follow func(kept keyPair) keyPair) (pair keyPair, err error) {
	err = k.broker.Load().Update(ctx, func(tx *recall.Tx) error {
		bucket, err := tx.Bucket(keysBucket)
		if err != nil {
			return err
		}
		kept, err := k.parse(bucket.Get([]byte(keysKey)))
		if err != nil {
			return err
		}
		if pair = follow(kept); pair == kept {
			return nil
		}
		row, err := json.Marshal(keptKeys{pair, k.given.fingerprint()})
		if err != nil {
			return err
		}
		return bucket.Put([]byte(keysKey), row)
	})
	if errors.Is(err, recall.ErrUnsupported) {
		return follow(keyPair{}), nil
	}
	return pair, err
}
