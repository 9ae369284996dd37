package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// writtenPage returns a page of bbolt's of a kind, with many elements, and a nested
// bucket that has no page of its own.
func writtenPage(t *testing.T, kind uint16) (page, inline []byte) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(t.TempDir(), "b.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("large"))
		for i := 0; i < 300 && err == nil; i++ {
			err = b.Put(fmt.Appendf(nil, "key %d", 1000+i), make([]byte, 50))
		}
		if err != nil {
			return err
		}
		small, err := tx.CreateBucket([]byte("small"))
		for i := 0; i < 3 && err == nil; i++ {
			err = small.Put([]byte{byte('a' + i)}, []byte("value"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(db.Path())
	if err != nil {
		t.Fatal(err)
	}
	w := newWreck(bytes.NewReader(image), int64(len(image)))
	for id := uint64(2); id < w.pages; id++ {
		data, flags, count, err := w.page(id)
		if err != nil || flags == flagFreelist {
			continue
		}
		if flags == kind && count > 2 {
			page = bytes.Clone(data)
		}
		rows, _ := leafRows(data, count)
		for _, r := range rows {
			if flags == flagLeaf && r.bucket && string(r.key) == "small" {
				inline = r.value
			}
		}
	}
	if page == nil || inline == nil {
		t.Fatal("there is no such page")
	}
	return page, inline
}

// TestWreckCounts: a page is whole with the count that was written, whatever is behind
// its last value, and with no other.
func TestWreckCounts(t *testing.T) {
	leaf, inline := writtenPage(t, flagLeaf)
	branch, _ := writtenPage(t, flagBranch)
	for name, c := range map[string]struct {
		page  []byte
		whole func(page []byte, count int) (rows int, whole bool)
	}{
		"leaf":   {leaf, func(p []byte, n int) (int, bool) { rows, whole := leafRows(p, n); return len(rows), whole }},
		"branch": {branch, func(p []byte, n int) (int, bool) { pages, whole := branchPages(p, n); return len(pages), whole }},
		"inline": {inline[bucketHeader:], func(p []byte, n int) (int, bool) {
			value := bytes.Clone(inline)
			binary.NativeEndian.PutUint16(value[bucketHeader+10:], uint16(n))
			rows, whole := inlineRows(value)
			return len(rows), whole
		}},
	} {
		written := int(binary.NativeEndian.Uint16(c.page[10:]))
		for count := range written + 1 {
			rows, whole := c.whole(c.page, count)
			if whole != (count == written) || rows != count {
				t.Errorf("%s: %d of %d: got %d rows, whole: %v", name, count, written, rows, whole)
			}
		}
		if _, whole := c.whole(c.page, written+1); whole {
			t.Errorf("%s: more than were written are whole", name)
		}
	}
	last := len(leaf) - 1
	if leaf[last] = 0xA5; !isWhole(leaf) {
		t.Error("what an older page has left behind the last value counts")
	}
}

func isWhole(leaf []byte) bool {
	_, whole := leafRows(leaf, int(binary.NativeEndian.Uint16(leaf[10:])))
	return whole
}

// TestWreckElements: elements that are out of place or out of order are read, and the
// page is not whole.
func TestWreckElements(t *testing.T) {
	sound, inline := writtenPage(t, flagLeaf)
	for name, damage := range map[string]func(page []byte){
		"key out of order": func(p []byte) {
			second := pageHeader + elementSize
			p[second+int(binary.NativeEndian.Uint32(p[second+4:]))] = 'a'
		},
		"short value": func(p []byte) { p[pageHeader+12]-- },
	} {
		page := bytes.Clone(sound)
		damage(page)
		count := int(binary.NativeEndian.Uint16(page[10:]))
		if rows, whole := leafRows(page, count); whole || len(rows) != count {
			t.Errorf("%s: got %d of %d rows, whole: %v", name, len(rows), count, whole)
		}
	}
	binary.NativeEndian.PutUint64(inline, 3)
	if rows, whole := inlineRows(inline); whole || len(rows) != 3 {
		t.Errorf("in two places: got %d rows, whole: %v", len(rows), whole)
	}
	if rows, whole := leafRows(make([]byte, 4096), 0); !whole || len(rows) != 0 {
		t.Error("an empty page is damaged")
	}
}
