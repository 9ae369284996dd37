package store

// Stats are sizes of the file.
type Stats struct {
	FileBytes     int64 // size of the file
	UsedBytes     int64 // up to the highest page in use
	FreeBytes     int64 // of those, reusable
	Segments      int   // of both tables
	Rows          int   // stored in both tables, dead or not
	Foldable      int   // finished messages whose journal rows are not folded
	JournalBytes  int64 // retries, claims, due times and holds in the journal
	OverlayBytes  int64 // the same, folded
	OpenRequested int   // cancellation requests of messages in flight
}

// Stats returns sizes of the file. It is cheap. After Close the sizes on disk
// are 0.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	st := Stats{
		Segments: len(s.segments[Live]) + len(s.segments[Dead]), Foldable: s.sizes.foldable,
		Rows: s.sizes.rows, JournalBytes: s.sizes.journalState, OverlayBytes: s.sizes.overlay, OpenRequested: len(s.requested),
	}
	s.mu.Unlock()
	done, err := s.reading()
	if err != nil {
		return st
	}
	defer done()
	used, free, err := s.space()
	if err != nil {
		return st
	}
	st.UsedBytes, st.FreeBytes = used, free
	st.FileBytes, _ = s.size() // 0 if it cannot be told
	return st
}
