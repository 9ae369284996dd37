package recall_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestSalvageBodyKeys flips each bit in the key of a body, which no checksum covers:
// no message may get the body of another.
func TestSalvageBodyKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	b := openQuiet(t, path)
	want := map[recall.MessageID]string{}
	for i := range 8 {
		body := fmt.Sprintf("body of %d", i+1)
		want[publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour, Body: []byte(body)})] = body
	}
	closeNow(t, b, t.Context())
	image := readBytes(t, path)
	places := keysBefore(image, []byte{0, 5, 0, 0}, "body of 5")
	if len(places) == 0 {
		t.Fatal("the key was not found")
	}
	for bit := range 32 {
		bad := bytes.Clone(image)
		for _, at := range places {
			bad[at+bit/8] ^= 1 << (bit % 8)
		}
		to, r, err := salvageOf(t, bad)
		if err != nil {
			t.Errorf("bit %d: %v", bit, err)
			continue
		}
		if r.Complete() || r.Copied.Messages < len(want)-3 || r.Copied.Messages+r.Lost.Messages < len(want) {
			t.Errorf("bit %d: got %v", bit, r)
		}
		b := openQuiet(t, to)
		for id, body := range want {
			if m, err := b.Get(t.Context(), id); err == nil && string(m.Body) != body {
				t.Errorf("bit %d: a message has %q, want %q", bit, m.Body, body)
			}
		}
		closeNow(t, b, t.Context())
	}
}

// keysBefore returns where a key stands that is followed by a value with some text.
func keysBefore(image, key []byte, text string) (places []int) {
	for at := 0; ; at++ {
		next := bytes.Index(image[at:], key)
		if next < 0 {
			return places
		}
		at += next
		if bytes.Contains(image[at:min(at+40, len(image))], []byte(text)) {
			places = append(places, at)
		}
	}
}

// TestSalvageOwnKeys: of the program's own keys those out of order are named.
func TestSalvageOwnKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	b := openQuiet(t, path)
	key := func(i int) []byte { return binary.BigEndian.AppendUint32([]byte("key"), uint32(i)) }
	err := b.Update(t.Context(), func(tx *recall.Tx) error {
		bucket, err := tx.Bucket("mine")
		for i := range 5 {
			if err == nil {
				err = bucket.Put(key(i), fmt.Appendf(nil, "value %d", i))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	closeNow(t, b, t.Context())
	bad := bytes.ReplaceAll(readBytes(t, path), append(key(1), "value 1"...), append(key(9), "value 1"...))
	_, r, err := salvageOf(t, bad)
	if err != nil || r.Complete() || !strings.Contains(r.String(), fmt.Sprintf(`bucket "app", key %x`, key(2))) {
		t.Errorf("got %v, %v", r, err)
	}
}
