package recall_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestSalvageShortCount: the page with the bitmaps says that it has fewer than are in
// it. Who is gone is then found elsewhere, or in doubt.
func TestSalvageShortCount(t *testing.T) {
	for count := range uint16(2) {
		t.Run(fmt.Sprint(count), func(t *testing.T) {
			f := newGoneFile(t, 2*perSegment+100)
			f.cancel(0, 10, false)
			f.cancel(perSegment, 10, true)
			for range 3 { // both trees have the same page then
				msgs := []recall.Message{storyMessage("later", storyBase.Add(time.Hour))}
				if _, err := f.e.Insert(t.Context(), msgs, storyBase); err != nil {
					t.Fatal(err)
				}
			}
			image := f.image()
			page := bitmapPage(t, image)
			if have := binary.NativeEndian.Uint16(image[page+10:]); have != 2 {
				t.Fatalf("the page has %d bitmaps", have)
			}
			binary.NativeEndian.PutUint16(image[page+10:], count)
			r := f.check(image, 20-10*int(count))
			if r.LostPages == 0 {
				t.Errorf("no page was damaged:\n%s", r)
			}
		})
	}
}

// TestSalvageShortJournal: the journal, which is small enough to be in the root, says
// that nothing is in it.
func TestSalvageShortJournal(t *testing.T) {
	f := newGoneFile(t, 100)
	f.cancel(0, 3, false)
	image := f.image()
	_, root := metaPage(image, true)
	const headers = 16 // of the bucket, and of the page in it
	page := image[root : root+os.Getpagesize()]
	at := bytes.Index(page, []byte("journal"))
	if at < 0 {
		t.Fatal("the journal was not found")
	}
	inline := page[at+len("journal")+headers:]
	if binary.NativeEndian.Uint16(inline[8:]) != 2 || binary.NativeEndian.Uint16(inline[10:]) == 0 {
		t.Fatal("the journal is not in the root")
	}
	binary.NativeEndian.PutUint16(inline[10:], 0)
	_, r, err := salvageOf(t, image)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.String(), "the journal could not all be read") {
		t.Errorf("it is not in doubt who has ended:\n%s", r)
	}
}

// TestSalvageOlderPage: the bucket of the bitmaps points to an older version of their
// page, in which nothing is wrong. The commit before had more: it is in doubt who is gone.
func TestSalvageOlderPage(t *testing.T) {
	for name, last := range map[string]int{"bits": 20, "segment": 2 * perSegment} {
		t.Run(name, func(t *testing.T) {
			f := newGoneFile(t, 2*perSegment+100)
			f.cancel(0, 10, false)
			f.cancel(perSegment, 10, true)
			before := f.image()
			f.cancel(last, 10, true)
			msgs := []recall.Message{storyMessage("later", storyBase.Add(time.Hour))} // the fold is then in both trees
			if _, err := f.e.Insert(t.Context(), msgs, storyBase); err != nil {
				t.Fatal(err)
			}
			image := f.image()
			now := bitmapPage(t, image) / os.Getpagesize()
			_, root := metaPage(image, true)
			bucket := func(page int) []byte {
				return binary.NativeEndian.AppendUint64([]byte("bitmap"), uint64(page))
			}
			at := bytes.Index(image[root:root+os.Getpagesize()], bucket(now))
			old := bitmapPage(t, before)
			if at < 0 || bytes.Equal(before[old:old+os.Getpagesize()], image[now*os.Getpagesize():(now+1)*os.Getpagesize()]) {
				t.Fatalf("the bitmaps were not found in page %d, or are the same as before", now)
			}
			plant(t, image, before, old)
			copy(image[root+at:], bucket(len(image)/os.Getpagesize()-1))
			r := f.check(image, 0)
			if !strings.Contains(r.String(), "is older than that of the commit before") {
				t.Errorf("the older page is not told:\n%s", r)
			}
		})
	}
}
