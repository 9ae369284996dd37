package recall_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	bolt "go.etcd.io/bbolt"
)

// goneFile is a file in which messages are cancelled, and folded into bitmaps.
type goneFile struct {
	t        *testing.T
	path     string
	e        recall.Engine
	receipts []recall.Receipt
	gone     map[int]bool // by index
}

const perSegment = 4096 // numbers that have a bitmap together

func newGoneFile(t *testing.T, messages int) *goneFile {
	t.Helper()
	f := &goneFile{t: t, path: filepath.Join(t.TempDir(), "q.db"), gone: map[int]bool{}}
	var err error
	if f.e, err = recall.OpenEngine(f.path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.e.Close() })
	msgs := make([]recall.Message, messages)
	for i := range msgs {
		msgs[i] = storyMessage("m", storyBase.Add(time.Hour))
	}
	if f.receipts, err = f.e.Insert(t.Context(), msgs, storyBase); err != nil {
		t.Fatal(err)
	}
	return f
}

// cancel cancels some from an index on, one by one, and folds them if that is asked for.
func (f *goneFile) cancel(from, n int, fold bool) {
	f.t.Helper()
	for i := from; i < from+n; i++ {
		if err := f.e.Cancel(f.t.Context(), recall.CancelRequest{ID: f.receipts[i].ID, Now: storyBase}); err != nil {
			f.t.Fatal(err)
		}
		f.gone[i] = true
	}
	if fold {
		if err := recall.FoldAll(f.e); err != nil {
			f.t.Fatal(err)
		}
	}
}

// image is what a crash would leave now.
func (f *goneFile) image() []byte {
	f.t.Helper()
	if err := recall.Settle(f.e); err != nil {
		f.t.Fatal(err)
	}
	return readBytes(f.t, f.path)
}

// bitmapPage returns where the page begins that the bitmaps of messages have in the
// newest tree.
func bitmapPage(t *testing.T, image []byte) int {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	page := 0
	err = db.View(func(tx *bolt.Tx) error {
		page = int(tx.Bucket([]byte("bitmap")).Root())
		return nil
	})
	if err != nil || page == 0 {
		t.Fatalf("the bitmaps have no page of their own (%v)", err)
	}
	return page * os.Getpagesize()
}

// destroy overwrites a page.
func destroy(image []byte, at int) {
	copy(image[at:], bytes.Repeat([]byte{0xA5}, os.Getpagesize()))
}

// plant puts a page of an older image where a commit would have left it that is long
// gone: behind all that is in use.
func plant(t *testing.T, image, old []byte, at int) {
	t.Helper()
	size := os.Getpagesize()
	last := len(image)/size - 1
	to := image[last*size:]
	if !bytes.Equal(to[:size], make([]byte, size)) {
		t.Fatal("the last page is in use")
	}
	copy(to, old[at:at+size])
	binary.NativeEndian.PutUint64(to, uint64(last))
}

// check salvages an image: of what is gone at most so many may be back, and that has to
// be in doubt; what lives is there.
func (f *goneFile) check(image []byte, back int) recall.SalvageReport {
	f.t.Helper()
	to, r, err := salvageOf(f.t, image)
	if err != nil {
		f.t.Fatal(err)
	}
	if !strings.Contains(r.String(), "is gone could not be read") {
		f.t.Errorf("it is not in doubt who is gone:\n%s", r)
	}
	b := openQuiet(f.t, to)
	defer closeNow(f.t, b, f.t.Context())
	lost := 0
	for i, receipt := range f.receipts {
		switch _, err := b.Get(f.t.Context(), receipt.ID); {
		case err == nil && f.gone[i]:
			back--
		case !f.gone[i] && err != nil:
			lost++
		case err != nil && !errors.Is(err, recall.ErrNotFound):
			f.t.Fatal(err)
		}
	}
	if back < 0 || lost > 0 {
		f.t.Errorf("%d more than may be are back, %d that live are lost:\n%s", -back, lost, r)
	}
	return r
}

// TestSalvageDamagedBitmap: a bitmap whose checksum is wrong, in a page that is as it
// should be. The commit before had the bits but for those of the last fold, and the
// latter in its journal.
func TestSalvageDamagedBitmap(t *testing.T) {
	f := newGoneFile(t, 100)
	f.cancel(0, 50, true)
	f.cancel(50, 20, true)
	image := f.image()
	_, root := metaPage(image, true)
	bits := []byte{0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0x00} // 1 to 70
	at := bytes.Index(image[root:root+os.Getpagesize()], bits)
	if at < 0 {
		t.Fatal("the bitmap was not found")
	}
	image[root+at+1] ^= 1
	r := f.check(image, 0)
	if !strings.Contains(r.String(), "70 messages count as gone by older pages alone: 1-70\n") {
		t.Errorf("what older pages say is not told:\n%s", r)
	}
}

// TestSalvageLostBitmaps: the page with the bitmaps is lost, and the commit before has
// another one.
func TestSalvageLostBitmaps(t *testing.T) {
	f := newGoneFile(t, perSegment+100)
	f.cancel(0, 10, false)
	f.cancel(perSegment, 10, true)
	f.cancel(20, 10, true)
	image := f.image()
	destroy(image, bitmapPage(t, image))
	f.check(image, 0)
}

// TestSalvageOldBitmaps: both trees have lost the page, and one is left of a commit
// that is long gone. What came after it is told to be in doubt.
func TestSalvageOldBitmaps(t *testing.T) {
	f := newGoneFile(t, perSegment+100)
	f.cancel(0, 10, false)
	f.cancel(perSegment, 10, true)
	old := f.image()
	f.cancel(20, 10, true)
	for range 3 { // both trees have the same page then
		msgs := []recall.Message{storyMessage("later", storyBase.Add(time.Hour))}
		receipts, err := f.e.Insert(t.Context(), msgs, storyBase)
		if err != nil {
			t.Fatal(err)
		}
		f.receipts = append(f.receipts, receipts...)
	}
	image := f.image()
	page := bitmapPage(t, image)
	plant(t, image, old, bitmapPage(t, old))
	destroy(image, page)
	f.check(image, 10)
}

// TestSalvageKeepsRestored: an old page has the set of a cancellation that was undone,
// and bitmaps are lost. What was restored lives.
func TestSalvageKeepsRestored(t *testing.T) {
	f := newGoneFile(t, perSegment+100)
	res, err := f.e.CancelMatching(t.Context(), recall.CancelMatchingRequest{
		Filter: recall.Filter{IDs: []recall.MessageID{f.receipts[40].ID, f.receipts[41].ID, f.receipts[perSegment+40].ID}}, Now: storyBase,
	})
	if err != nil || res.Cancelled != 3 {
		t.Fatalf("got %+v, %v", res, err)
	}
	old := f.image()
	if _, err := f.e.(recall.Restorer).Restore(t.Context(), res.Operation, storyBase); err != nil {
		t.Fatal(err)
	}
	f.cancel(0, 10, false)
	f.cancel(perSegment, 10, true)
	image := f.image()
	_, root := metaPage(old, true)
	plant(t, image, old, root)
	destroy(image, bitmapPage(t, image))
	f.check(image, 0)
}
