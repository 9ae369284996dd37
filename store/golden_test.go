package store

import (
	"testing"

	bolt "go.etcd.io/bbolt"
)

// writeCompact copies a file without the room that was made in it.
func writeCompact(t *testing.T, from, to string) {
	t.Helper()
	src, err := bolt.Open(from, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := bolt.Open(to, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := bolt.Compact(dst, src, 0); err != nil {
		t.Fatal(err)
	}
}
