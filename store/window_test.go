package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// holed is a file of which one byte cannot be read.
type holed struct {
	*bytes.Reader
	hole int64
}

var errHole = errors.New("cannot be read")

func (h holed) ReadAt(b []byte, at int64) (int, error) {
	if at <= h.hole && h.hole < at+int64(len(b)) {
		n, _ := h.Reader.ReadAt(b[:h.hole-at], at)
		return n, errHole
	}
	return h.Reader.ReadAt(b, at)
}

// TestWindow reads pages of a file in any order, also its last ones, and beside
// a place that cannot be read.
func TestWindow(t *testing.T) {
	const page, pages = 4096, 70 // the last window is cut short
	data := make([]byte, pages*page)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	const damaged = 37
	file := holed{bytes.NewReader(data), damaged*page + 5}
	var w window
	for range 2000 {
		i := random.IntN(pages)
		got, err := w.read(file, int64(i)*page, page)
		switch {
		case i == damaged:
			if !errors.Is(err, errHole) {
				t.Fatalf("page %d: %v", i, err)
			}
		case err != nil || !bytes.Equal(got, data[i*page:(i+1)*page]):
			t.Fatalf("page %d: another content, %v", i, err)
		}
	}
	if _, err := w.read(file, pages*page, page); err == nil {
		t.Error("a page behind the end was read")
	}
}
