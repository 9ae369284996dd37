package recall_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// salvageOf damages nothing by itself: it salvages bytes, and makes sure that they
// stay as they are.
func salvageOf(t testing.TB, image []byte) (to string, r recall.SalvageReport, err error) {
	t.Helper()
	dir := t.TempDir()
	from, to := filepath.Join(dir, "bad.db"), filepath.Join(dir, "good.db")
	if err := os.WriteFile(from, image, 0o400); err != nil {
		t.Fatal(err)
	}
	r, err = recall.Salvage(context.Background(), from, to, nil)
	if after, err := os.ReadFile(from); err != nil || !bytes.Equal(after, image) {
		t.Fatalf("the damaged file was changed (%v)", err)
	}
	if _, statErr := os.Stat(to); (statErr == nil) != (err == nil) {
		t.Fatalf("Salvage: %v, and the new file: %v", err, statErr)
	}
	return to, r, err
}

// TestSalvageSoundFile: of a file in which nothing is wrong everything is copied.
func TestSalvageSoundFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	image := readBytes(t, path)
	to, r, err := salvageOf(t, image)
	if err != nil || !r.Complete() {
		t.Fatalf("got %v, %v", r, err)
	}
	if want := len(full.messages) + full.cancelled; r.Copied.Messages != want || r.Copied.DeadLetters != len(full.dead) || r.Copied.OwnKeys != 3 {
		t.Errorf("got %+v, want %d messages", r.Copied, want)
	}
	checkSound(t, to)
	full.check(t, to)
}

func readBytes(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// checkSalvaged holds what was salvaged against what was in the file: nothing is
// there that was not, and what is missing or in doubt is said.
func (f *fullFile) checkSalvaged(t *testing.T, what, to string, r recall.SalvageReport) {
	t.Helper()
	ctx := context.Background()
	if r.Complete() {
		f.check(t, to)
		return
	}
	b := openQuiet(t, to)
	defer closeNow(t, b, ctx)
	found := 0
	for id, body := range f.messages {
		switch m, err := b.Get(ctx, id); {
		case err == nil && string(m.Body) == body:
			found++
		case !errors.Is(err, recall.ErrNotFound):
			t.Errorf("%s: %s: got %.20q, %v", what, id, m.Body, err)
		}
	}
	n, err := b.Count(ctx, recall.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range f.gone {
		if _, err := b.Get(ctx, id); !errors.Is(err, recall.ErrNotFound) && len(r.Doubts) == 0 {
			t.Errorf("%s: %s was gone, and nothing is in doubt: %v", what, id, err)
		}
	}
	if n.Pending > found && len(r.Doubts) == 0 {
		t.Errorf("%s: %d messages are there, of which %d should, and nothing is in doubt", what, n.Pending, found)
	}
	if missing := len(f.messages) - found; missing > 0 && r.LostPages == 0 && r.Lost.Messages < missing {
		t.Errorf("%s: %d messages are missing, of which %d are known:\n%s", what, missing, r.Lost.Messages, r)
	}
}

// TestSalvageEveryPage destroys one page after the other.
func TestSalvageEveryPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	image := readBytes(t, path)
	size := os.Getpagesize()
	all, failed := 0, 0
	for at := 0; at+size <= len(image); at += size {
		if bytes.Equal(image[at:at+size], make([]byte, size)) || at > 100*size && at/size%7 != 0 && os.Getenv("RECALL_SOAK") == "" {
			continue
		}
		bad := bytes.Clone(image)
		copy(bad[at:], bytes.Repeat([]byte{0xA5}, size))
		what := fmt.Sprintf("page %d", at/size)
		to, r, err := salvageOf(t, bad)
		all++
		if err != nil {
			failed++
			if !errors.Is(err, recall.ErrCorrupt) && !errors.Is(err, recall.ErrForeign) {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		full.checkSalvaged(t, what, to, r)
	}
	if failed > 1 { // the root with the key of the ids
		t.Errorf("%d of %d files could not be salvaged", failed, all)
	}
}

// TestSalvageFlippedBits flips bits anywhere, up to many.
func TestSalvageFlippedBits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	image := readBytes(t, path)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for n := range 40 {
		bad := bytes.Clone(image)
		for range 1 << (n % 10) {
			bad[random.IntN(len(bad))] ^= 1 << random.IntN(8)
		}
		to, r, err := salvageOf(t, bad)
		if err != nil {
			continue
		}
		full.checkSalvaged(t, fmt.Sprintf("seed %d, file %d", seed, n), to, r)
	}
}

// TestSalvageWithoutMetaPages: the tree is found by its root.
func TestSalvageWithoutMetaPages(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	image := readBytes(t, path)
	for i := range 2 * os.Getpagesize() {
		image[i] = 0
	}
	to, r, err := salvageOf(t, image)
	if err != nil {
		t.Fatal(err)
	}
	full.checkSalvaged(t, "without meta pages", to, r)
	if r.Copied.Messages != len(full.messages)+full.cancelled {
		t.Errorf("got %v", r)
	}
}

// TestSalvageTruncated cuts a file short.
func TestSalvageTruncated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	image := readBytes(t, path)
	saved := 0
	for part := range 20 {
		cut := image[:len(image)*part/20+part]
		to, r, err := salvageOf(t, cut)
		if err != nil {
			continue
		}
		saved++
		full.checkSalvaged(t, fmt.Sprintf("%d bytes", len(cut)), to, r)
	}
	if saved == 0 {
		t.Error("nothing was salvaged")
	}
}

// TestSalvageTells names what is lost.
func TestSalvageTells(t *testing.T) {
	path, bad := damagedFile(t)
	r, err := recall.Salvage(t.Context(), path, path+".new", nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Copied.Messages != 2 || r.Lost.Messages != 1 || !slices.Equal(r.LostMessages, []uint64{1}) || r.Complete() {
		t.Errorf("got %+v", r)
	}
	for _, want := range []string{"copied: 2 messages", "lost: 1 messages", "by number: 1\n", `bucket "body", key 0000000000000001`} {
		if !strings.Contains(r.String(), want) {
			t.Errorf("%q is not in\n%s", want, r)
		}
	}
	b := openQuiet(t, path+".new")
	defer closeNow(t, b, t.Context())
	if _, err := b.Get(t.Context(), bad); !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("the message that is lost: %v", err)
	}
}

func TestSalvageRefuses(t *testing.T) {
	dir := t.TempDir()
	path, to := filepath.Join(dir, "q.db"), filepath.Join(dir, "new.db")
	if _, err := recall.Salvage(t.Context(), path, to, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	b := openQuiet(t, path)
	publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
	if _, err := recall.Salvage(t.Context(), path, to, nil); !errors.Is(err, recall.ErrInUse) {
		t.Errorf("a file in use: got %v", err)
	}
	closeNow(t, b, t.Context())
	if _, err := recall.Salvage(done(), path, to, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: got %v", err)
	}
	if err := os.WriteFile(to, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{to, path} {
		before := readBytes(t, target)
		if _, err := recall.Salvage(t.Context(), path, target, nil); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a file that exists: got %v", err)
		}
		if !bytes.Equal(before, readBytes(t, target)) {
			t.Error("it was written to")
		}
	}
	if _, _, err := salvageOf(t, bytes.Repeat([]byte("text "), 10_000)); !errors.Is(err, recall.ErrForeign) {
		t.Errorf("a text: got %v", err)
	}
	if _, _, err := salvageOf(t, nil); !errors.Is(err, recall.ErrForeign) {
		t.Errorf("nothing: got %v", err)
	}
}

// FuzzSalvage changes a small file in two places and cuts it: whatever is left,
// nothing panics, and what is copied is sound.
func FuzzSalvage(f *testing.F) {
	path := filepath.Join(f.TempDir(), "q.db")
	b, err := recall.Open(path, &recall.Options{NoDispatch: true, Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		f.Fatal(err)
	}
	for i := range 60 {
		if _, err := b.Publish(context.Background(), recall.Message{URL: "https://a.test/x", Queue: "q", Body: make([]byte, i*40), Delay: time.Hour, Labels: []string{"a"}}); err != nil {
			f.Fatal(err)
		}
	}
	if _, err := b.CancelMatching(context.Background(), recall.Filter{Labels: []string{"a"}}, recall.Limit(20)); err != nil {
		f.Fatal(err)
	}
	if err := b.Close(context.Background()); err != nil {
		f.Fatal(err)
	}
	image := bytes.TrimRight(readBytes(f, path), "\x00")
	f.Add(uint32(0), uint64(0), uint32(0), uint64(0), uint32(0))
	f.Add(uint32(16), uint64(1), uint32(4096+16), uint64(1), uint32(0))
	f.Add(uint32(3*4096+10), uint64(0xFFFF), uint32(5*4096+8), uint64(1<<40), uint32(100))
	f.Fuzz(func(t *testing.T, at uint32, change uint64, at2 uint32, change2 uint64, cut uint32) {
		bad := bytes.Clone(image[:len(image)-int(cut%uint32(len(image)-8))])
		for _, c := range []struct {
			at     uint32
			change uint64
		}{{at, change}, {at2, change2}} {
			if len(bad) >= 16 {
				at := c.at % uint32(len(bad)-8)
				binary.LittleEndian.PutUint64(bad[at:], binary.LittleEndian.Uint64(bad[at:])^c.change)
			}
		}
		dir := t.TempDir()
		from, to := filepath.Join(dir, "bad.db"), filepath.Join(dir, "good.db")
		if err := os.WriteFile(from, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := recall.Check(t.Context(), from, nil); err != nil && !errors.Is(err, recall.ErrForeign) && !errors.Is(err, recall.ErrVersion) {
			t.Errorf("Check: %v", err)
		}
		_, err := recall.Salvage(t.Context(), from, to, nil)
		switch {
		case err == nil, errors.Is(err, recall.ErrForeign), errors.Is(err, recall.ErrVersion):
		case errors.Is(err, recall.ErrCorrupt) && !strings.Contains(err.Error(), "not sound"):
		default:
			t.Error(err)
		}
	})
}
