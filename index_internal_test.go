package recall

import (
	"testing"

	"github.com/recallmq/recall/store"
)

// TestListsStayShort has a value that always one message holds, and thousands have
// come and gone: its list does not keep them.
func TestListsStayShort(t *testing.T) {
	for _, waiting := range []int{1, 7, 9, 15} {
		ix := newIndex(true)
		rec := &store.Record{URL: []byte("https://api.test/hook"), Queue: []byte("q"), Labels: [][]byte{[]byte("l")}}
		last := uint64(0)
		insert := func() uint64 {
			last++
			ix.insert(last, rec, times{created: 1, wall: 1, due: 1})
			return last
		}
		for range waiting {
			insert()
		}
		for range 4000 {
			seq := insert()
			p, e := ix.lookup(seq)
			ix.mark(p, e, 1)
			ix.unlink(p, e, seq)
			for ix.clean() {
			}
		}
		for _, f := range []field{fieldURL, fieldHost, fieldQueue, fieldLabel} {
			if got := ix.fields[f].slab[1].list.Len(); got > 200 {
				t.Errorf("%d wait, and the list of %s has %d", waiting, fieldNames[f], got)
			}
		}
	}
}
