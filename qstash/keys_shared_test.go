package qstash_test

import (
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall/qstash"
)

// TestKeysOfSeveral: those who begin on one queue at the same time agree on a pair,
// and see what another has rotated a second later.
func TestKeysOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openQuiet(t, filepath.Join(t.TempDir(), "queue.db"))
		list := make([]*qstash.Keys, 8)
		pairs := make([][2]string, len(list))
		var group sync.WaitGroup
		for i := range list {
			list[i] = qstash.NewKeys("", "")
			if err := list[i].Bind(b); err != nil {
				t.Fatal(err)
			}
			group.Go(func() {
				current, next, err := list[i].Get(t.Context())
				if err != nil {
					t.Error(err)
				}
				pairs[i] = [2]string{current, next}
			})
		}
		group.Wait()
		for _, pair := range pairs {
			if pair != pairs[0] || pair[0] == "" {
				t.Fatalf("got %v", pairs)
			}
		}
		var rotations [][2]string
		for _, k := range list[:2] { // neither has seen what the other did
			current, next, err := k.Rotate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rotations = append(rotations, [2]string{current, next})
		}
		if rotations[0][0] != pairs[0][1] || rotations[1][0] != rotations[0][1] {
			t.Errorf("from %v: got %v", pairs[0], rotations)
		}
		time.Sleep(time.Second)
		for _, k := range list {
			checkKeys(t, k, rotations[1][0], rotations[1][1])
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		checkKeys(t, list[0], rotations[1][0], rotations[1][1]) // what cannot be looked at is as it was
	})
}
