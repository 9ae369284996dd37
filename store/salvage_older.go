package store

// The number of a page bears no checksum, and a page does not say of which commit it
// is: one that was damaged can lead to an older version of the same page, in which
// nothing is wrong. Of bitmaps that shows, as far as the commit before had what is
// missing: a bit is set for good, and a bitmap is deleted with its segment.

// weighBitmaps treats bitmaps that the commit before contradicts as lost. Without the
// newest commit it is not certain which of both came before.
func (s *salvage) weighBitmaps(tab Table) error {
	if s.behind || len(s.trees) < 2 {
		return nil
	}
	segments, err := s.segmentNumbers(string(tableNames[tab].record))
	if err != nil {
		return err
	}
	name := string(tableNames[tab].bitmap)
	_, err = s.tree(s.trees[1].root).nested(s.dirs[1][name], func(row wreckRow) error {
		set, n, ok := bitmapRow(row)
		if !ok || !segments[n] || s.bitmaps[tab][n] && s.dead[tab][n].covers(set) {
			return s.meter.live()
		}
		if s.bitmaps[tab][n] || !s.lostIn[name] { // else it is known to be lost
			s.lose(name, "the bitmap of segment %d is older than that of the commit before", n)
			s.bitmaps[tab][n] = false
		}
		return s.meter.live()
	})
	return err
}

// segmentNumbers returns those that the newest tree has in a bucket of segments.
func (s *salvage) segmentNumbers(name string) (map[uint64]bool, error) {
	numbers := map[uint64]bool{}
	_, err := s.tree(s.trees[0].root).nested(s.dirs[0][name], func(row wreckRow) error {
		if len(row.key) == 8 && row.bucket {
			numbers[keySeq(row.key)] = true
		}
		return s.meter.live()
	})
	return numbers, err
}

// covers tells whether all bits of another set are set.
func (b *bitset) covers(other *bitset) bool {
	for i, word := range other {
		if word&^b[i] != 0 {
			return false
		}
	}
	return true
}
