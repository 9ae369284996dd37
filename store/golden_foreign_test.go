package store

import "testing"

// goldenFile5 has a message that was imported.
const goldenFile5 = "testdata/v5.db"

var goldenForeign = Record{
	ID: [16]byte{1, 2, 3, 4, 5, 6, 7}, Foreign: true, Created: 1_700_000_000_123, Wall: 1_600_000_000_000, Due: 5, URL: []byte("http://host/foreign"),
}

// TestGoldenFile5 reads a file of version 5. One becomes so by what is imported alone.
func TestGoldenFile5(t *testing.T) {
	if *update {
		file := path(t)
		s := open(t, file, quick)
		mustCommit(t, s, func(tx *Tx) error { return put(tx, 1, "native") })
		if s.format != plainVersion {
			t.Errorf("a file of new messages has version %d", s.format)
		}
		mustCommit(t, s, func(tx *Tx) error {
			row := AppendRecord(nil, &goldenForeign)
			SealForeign(row, 2, goldenForeign.ID, goldenForeign.Created)
			h := tx.s.Head()
			h.NextSeq = 3
			if err := tx.SetHead(h); err != nil {
				return err
			}
			return tx.PutForeign(Live, 2, row, AppendBody(nil, &Body{Payload: []byte("imported")}))
		})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		writeCompact(t, file, goldenFile5)
	}
	s := openGolden(t, goldenFile5)
	if s.format != 5 {
		t.Errorf("got version %d", s.format)
	}
	found := false
	err := s.Load(LoadFuncs{Row: func(tab Table, seq uint64, row []byte, _ State) error {
		var rec Record
		if err := DecodeRecord(seq, row, &rec); err != nil || seq != 2 {
			return err
		}
		found = true
		if rec.ID != goldenForeign.ID || !rec.Foreign || rec.Created != goldenForeign.Created || rec.Wall != goldenForeign.Wall || string(rec.URL) != "http://host/foreign" {
			t.Errorf("got %+v", rec)
		}
		return nil
	}})
	if err != nil || !found {
		t.Errorf("found %v, %v", found, err)
	}
	mustCommit(t, s, func(tx *Tx) error { return tx.SetHead(tx.head) })
	if got := restarted(t, s).format; got != 5 {
		t.Errorf("after another commit it has version %d", got)
	}
}
