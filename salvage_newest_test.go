package recall_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// cancelledFile returns what a crash leaves of a file of which the newest commit
// has cancelled all messages.
func cancelledFile(t *testing.T, messages int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.db")
	b := openQuiet(t, path)
	for range messages {
		publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
	}
	if _, err := b.CancelAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	image := readBytes(t, path)
	closeNow(t, b, t.Context())
	return image
}

// metaPage returns where the newer meta page of a file begins, or the older one,
// and its root.
func metaPage(image []byte, newer bool) (at, root int) {
	const header, rootAt, commitAt = 16, 16, 48
	number := func(at int) int { return int(binary.NativeEndian.Uint64(image[at:])) }
	second := os.Getpagesize()
	if (number(second+header+commitAt) > number(header+commitAt)) == newer {
		at = second
	}
	return at, number(at+header+rootAt) * second
}

// checkImage is Check of bytes.
func checkImage(t *testing.T, image []byte) recall.CheckReport {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.db")
	if err := os.WriteFile(path, image, 0o400); err != nil {
		t.Fatal(err)
	}
	r, err := recall.Check(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSalvageWithoutNewestCommit: that the newest commit may be lost is in doubt,
// and what it says is looked for in pages that nothing points to any more.
func TestSalvageWithoutNewestCommit(t *testing.T) {
	const messages = 20
	image := cancelledFile(t, messages)
	newer, root := metaPage(image, true)
	older, _ := metaPage(image, false)
	for name, c := range map[string]struct {
		damage    func(bad []byte)
		cancelled int // that are still known
	}{
		"its meta page":           {func(bad []byte) { bad[newer+36] ^= 1 }, messages},
		"the meta page before":    {func(bad []byte) { bad[older+36] ^= 1 }, messages},
		"its root":                {func(bad []byte) { copy(bad[root:], bytes.Repeat([]byte{0xA5}, os.Getpagesize())) }, 0},
		"both meta pages damaged": {func(bad []byte) { clear(bad[:2*os.Getpagesize()]) }, messages},
	} {
		bad := bytes.Clone(image)
		c.damage(bad)
		to, r, err := salvageOf(t, bad)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if r.Complete() || !strings.Contains(r.String(), "in doubt: the newest commit may be lost") {
			t.Errorf("%s: it is not in doubt:\n%s", name, r)
		}
		if found := checkSound(t, to); found.Undoable != c.cancelled || found.Live() != messages-c.cancelled {
			t.Errorf("%s: %d are cancelled and %d live, want %d cancelled:\n%s", name, found.Undoable, found.Live(), c.cancelled, r)
		}
	}
}

// TestCheckMetaPage: with one meta page the rest can be looked at, and what may be
// lost is told.
func TestCheckMetaPage(t *testing.T) {
	image := cancelledFile(t, 3)
	if r := checkImage(t, image); !r.OK() {
		t.Fatalf("a sound file: %v", r)
	}
	for _, newer := range []bool{true, false} {
		bad := bytes.Clone(image)
		at, _ := metaPage(bad, newer)
		bad[at+36] ^= 1
		r := checkImage(t, bad)
		if len(r.Findings) != 1 || r.Findings[0].Kind != recall.FindingPage || !strings.Contains(r.Findings[0].Text, "meta page") {
			t.Errorf("newer %v: got %v", newer, r)
		}
		if r.Live()+r.Undoable != 3 {
			t.Errorf("the rest was not looked at: %v", r)
		}
	}
}
