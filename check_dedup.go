package recall

import (
	"slices"

	"github.com/recallmq/recall/store"
)

// reserved checks what memory has of deduplication ids, and compares it with the
// file, which is read into the other.
func (c *check) reserved(file *reservedIDs) {
	r := &c.e.reserved
	same := slices.EqualFunc(r.parts, file.parts, func(a, b *reservedPart) bool {
		return a.ReservedPart == b.ReservedPart && slices.Equal(a.keys, b.keys)
	})
	if !same || r.count != file.count {
		c.fault("%d ids are reserved in %d parts, in the file %d in %d", r.count, len(r.parts), file.count, len(file.parts))
	}
	listed, count := map[dedupKey]bool{}, 0
	for i, p := range r.parts {
		if count += len(p.keys); i > 0 && comparePart(r.parts[i-1], p.ReservedPart) >= 0 || len(p.keys) == 0 {
			c.fault("the part %+v of reserved ids is empty or in a wrong place", p.ReservedPart)
		}
		for _, key := range p.keys {
			listed[key] = true
		}
	}
	if count != r.count {
		c.fault("%d ids are counted, %d are in parts", r.count, count)
	}
	for i := range r.shards {
		for key, x := range r.shards[i].first {
			if !listed[key] || int(key[0]%dedupShards) != i || file.shards[i].first[key] != x {
				c.fault("the id %x of %s is in no part, in a wrong place, or not so in the file", key, x.id)
			}
		}
	}
}

// reservedFile is what a file has, as [store.LoadFuncs] tell it.
func reservedFile() (*reservedIDs, func(store.ReservedPart, store.Reservation)) {
	r := new(reservedIDs)
	return r, func(p store.ReservedPart, x store.Reservation) { r.takeIn(p, x) }
}
