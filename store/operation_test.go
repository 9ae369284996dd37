package store

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

func id(n byte) [16]byte { return [16]byte{n} }

// whoTook returns the first byte of the operation's id, 0 if there is none.
func whoTook(t *testing.T, s *Store, seq uint64) byte {
	t.Helper()
	op, found, err := s.WhoTook(seq)
	if err != nil || found != (op.ID != [16]byte{}) {
		t.Fatalf("WhoTook(%d): %x, %v, %v", seq, op.ID, found, err)
	}
	return op.ID[0]
}

func operations(t *testing.T, s *Store, from [16]byte) (list []string) {
	t.Helper()
	err := s.Operations(from, func(op Operation, progress Progress) error {
		list = append(list, text(op, progress))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// rowsOf counts the rows of an operation by mark.
func rowsOf(t *testing.T, s *Store, op [16]byte) string {
	t.Helper()
	n := map[string]int{}
	err := s.View(func(v *View) error {
		return v.tx.Bucket(bucketTombstone).ForEach(func(k, row []byte) error {
			if [16]byte(k) == op {
				n[string(k[16:17])]++
			}
			if len(row) > maxRow {
				t.Errorf("row %x has %d bytes", k, len(row))
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(n)
}

func TestOperationKeepsEveryField(t *testing.T) {
	want := decoded{progress: SetFolding, commit: 7}
	v := reflect.ValueOf(&want.Operation).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Slice:
			f.SetBytes([]byte{byte(i), 0})
		case reflect.Array:
			f.Index(i).SetUint(9)
		case reflect.Int64:
			f.SetInt(math.MinInt64 + int64(i))
		default:
			f.SetUint(uint64(200 + i))
		}
	}
	row := encodeOperation(&want)
	got, err := decodeOperation(want.ID, row)
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("got  %+v (%v)\nwant %+v", got, err, want)
	}
	for i := range row {
		row[i] ^= 16
		if _, err := decodeOperation(want.ID, row); err == nil {
			t.Errorf("a flipped bit in byte %d is not noticed", i)
		}
		row[i] ^= 16
	}
	if _, err := decodeOperation(id(1), row); err == nil {
		t.Error("a row under another id decodes")
	}
}

// Numbers are found in sets of many rows and parts, and nowhere else.
func TestWhoTookSearchesAllRows(t *testing.T) {
	s := open(t, path(t), quick)
	even, odd := sequence(2, 9000, 2), sequence(4097, 9000, 4)
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.Tombstone(Operation{ID: id(1)}, 0, even[5000:], nil), // parts are in any order
			tx.Tombstone(Operation{ID: id(1)}, 1, even[:5000], nil),
			tx.Tombstone(Operation{ID: id(2)}, 0, odd, []uint64{1, 6}),
		)
	})
	if got := rowsOf(t, s, id(1)); got != "map[h:1 s:3]" {
		t.Errorf("the set has rows %s: it should have several", got)
	}
	for seq := uint64(0); seq < 24_000; seq += 7 {
		want := byte(0)
		switch {
		case seq >= 2 && seq%2 == 0 && seq <= 18_000:
			want = 1
		case seq == 1 || seq >= 4097 && (seq-4097)%4 == 0:
			want = 2
		}
		if got := whoTook(t, s, seq); got != want {
			t.Fatalf("who took %d: %d, want %d", seq, got, want)
		}
	}
}

// A set says more than a request, also one of an older operation.
func TestWhoTookPrefersSets(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.Tombstone(Operation{ID: id(1)}, 0, []uint64{5}, nil),
			tx.Tombstone(Operation{ID: id(2)}, 0, nil, []uint64{5, 6}),
			tx.Tombstone(Operation{ID: id(3)}, 0, nil, []uint64{6}),
			tx.PutOperation(Operation{ID: id(4)}), tx.Taken(id(4), []uint64{7}),
		)
	})
	for seq, want := range []byte{5: 1, 6: 3, 7: 4, 8: 0} {
		if got := whoTook(t, s, uint64(seq)); got != want {
			t.Errorf("who took %d: %d, want %d", seq, got, want)
		}
	}
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.Restore(id(1), 9, 0); return err })
	if got := whoTook(t, s, 5); got != 2 {
		t.Errorf("after the undo: %d", got)
	}
}

// Taken numbers come in no order, fill rows, and count for numbering.
func TestTakenNumbers(t *testing.T) {
	s := open(t, path(t), quick)
	if err := commit(s, func(tx *Tx) error { return tx.Taken(id(1), []uint64{1}) }); !errors.Is(err, ErrNoOperation) {
		t.Errorf("got %v, want ErrNoOperation", err)
	}
	mustCommit(t, s, func(tx *Tx) error { return tx.PutOperation(Operation{ID: id(1), Until: 7}) })
	taken := map[uint64]bool{}
	next := uint64(100_000)
	for range 300 {
		seqs := sequence(next, 30, 5)
		seqs = append(seqs, next-100_000+1)
		next += 150
		mustCommit(t, s, func(tx *Tx) error { return tx.Taken(id(1), seqs) })
		for _, seq := range seqs {
			taken[seq] = true
		}
	}
	if got := rowsOf(t, s, id(1)); got != "map[h:1 t:3]" && got != "map[h:1 t:4]" {
		t.Errorf("the rows are %s: they should be few and full", got)
	}
	last := slices.Max(slices.Collect(maps.Keys(taken)))
	for seq := uint64(0); seq < last+10; seq += 13 {
		if got := whoTook(t, s, seq) == 1; got != taken[seq] {
			t.Fatalf("%d is taken: %v, want %v", seq, got, taken[seq])
		}
	}
	want := []string{fmt.Sprintf("%x progress 0 Count 9300 Until 7 First 1 Last %d", id(1), last)}
	if got := operations(t, s, [16]byte{}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if c := mustLoad(t, restarted(t, s)); c.Head.NextSeq != last+1 {
		t.Errorf("the next number is %d, and %d was taken", c.Head.NextSeq, last)
	}
	mustCommit(t, s, func(tx *Tx) error {
		dropped, err := tx.DropOperation(id(1))
		if !dropped {
			t.Error("not dropped")
		}
		return err
	})
	if got := rowsOf(t, s, id(1)); got != "map[]" {
		t.Errorf("rows %s are left", got)
	}
}

// A fold that the end of the process cut short starts over, and counts nothing
// twice: not bits, and not segments that are gone.
func TestFoldStartsOver(t *testing.T) {
	s := open(t, path(t), quick)
	for range 48 {
		mustCommit(t, s, func(tx *Tx) error { return put(tx, segmentSize/16, "x") })
	}
	mustLoad(t, s)
	set := sequence(1, 3*segmentSize, 1)
	mustCommit(t, s, func(tx *Tx) error { return tx.Tombstone(Operation{ID: id(1)}, 0, set, nil) })
	fold := func() (seqs []uint64, more bool) {
		mustCommit(t, s, func(tx *Tx) (err error) { seqs, more, err = tx.FoldTombstone(id(1), segmentSize); return err })
		return seqs, more
	}
	first, more := fold()
	if len(first) < segmentSize || !more {
		t.Fatalf("the first step folded %d, more %v", len(first), more)
	}
	mustCommit(t, s, sweep)
	if c := mustLoad(t, restarted(t, s)); len(c.Live) != 0 {
		t.Fatalf("%d messages live while it folds", len(c.Live))
	}
	s = restarted(t, s)
	mustLoad(t, s)
	again, more := fold()
	if !slices.Equal(again, first) || !more {
		t.Errorf("after a restart it folded %d, more %v; at first %d", len(again), more, len(first))
	}
	for n, seg := range s.segments[Live] {
		if seg.dead > seg.stored {
			t.Errorf("segment %d: %d of %d are dead", n, seg.dead, seg.stored)
		}
	}
	folded := len(again)
	for more && folded < len(set) {
		var seqs []uint64
		seqs, more = fold()
		folded += len(seqs)
	}
	if folded != len(set) || more {
		t.Errorf("%d were folded, of %d, more %v", folded, len(set), more)
	}
	if seqs, more := fold(); seqs != nil || more {
		t.Errorf("folded again: %d, more %v", len(seqs), more)
	}
	if len(s.folded) > 0 {
		t.Errorf("places of folds that are over: %d", len(s.folded))
	}
	for range 3 {
		mustCommit(t, s, sweep)
	}
	s = restarted(t, s)
	if c := mustLoad(t, s); len(c.Live) != 0 || c.Head.NextSeq != uint64(len(set))+1 {
		t.Errorf("%d live, head %+v", len(c.Live), c.Head)
	}
	if got := whoTook(t, s, 77); got != 1 {
		t.Errorf("who took 77: %d", got)
	}
}

// A part that comes late is folded too.
func TestPartAfterAFold(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 4, "x") })
	for part, seqs := range [][]uint64{{1}, {3}} {
		mustCommit(t, s, func(tx *Tx) error { return tx.Tombstone(Operation{ID: id(1)}, part, seqs, nil) })
		if got := keys(mustLoad(t, restarted(t, s)).Live); slices.Contains(got, seqs[0]) {
			t.Errorf("part %d: live %v", part, got)
		}
		mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldTombstone(id(1), 100); return err })
	}
	if got := fmt.Sprint(keys(mustLoad(t, restarted(t, s)).Live)); got != "[2 4]" {
		t.Errorf("live %s", got)
	}
	bits, err := readBits(s, 0)
	if err != nil || !bits.has(1) || bits.has(2) || !bits.has(3) {
		t.Errorf("bits %v (%v)", bits[:1], err)
	}
}

func readBits(s *Store, segment uint64) (bits *bitset, err error) {
	err = s.View(func(v *View) (err error) { bits, err = readBitset(v.tx, Live, segment); return err })
	return bits, err
}

func TestRestoreLiftsOnlyItsOwnRequests(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 4, "x") })
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.Tombstone(Operation{ID: id(1)}, 0, []uint64{1, 2}, []uint64{3, 4}),
			tx.Tombstone(Operation{ID: id(2)}, 0, nil, []uint64{4}),
		)
	})
	if _, _, err := restore(s, id(3)); !errors.Is(err, ErrNoOperation) {
		t.Errorf("got %v, want ErrNoOperation", err)
	}
	for _, when := range []string{"undone", "undone again"} {
		written := lastCommit(t, s)
		if back, lifted, err := restore(s, id(1)); back != 2 || lifted != 2 || err != nil {
			t.Errorf("%s: %d back, %d lifted, %v", when, back, lifted, err)
		}
		if lastCommit(t, s) == written {
			t.Errorf("%s: nothing was committed", when)
		}
	}
	mustCommit(t, s, func(tx *Tx) error {
		seqs, more, err := tx.FoldTombstone(id(1), 10)
		if len(seqs) > 0 || more {
			t.Errorf("folded %v after the undo", seqs)
		}
		return err
	})
	live, ops := summary(t, restarted(t, s))
	if live != "[1 2 3 4 requested]" || ops != "1:0 2:0" {
		t.Errorf("live %s, operations %s", live, ops)
	}
	if got := s.Stats().OpenRequested; got != 1 {
		t.Errorf("%d requests are open", got)
	}
	if got := rowsOf(t, s, id(1)); got != "map[h:1]" {
		t.Errorf("rows %s are left", got)
	}
}

// openRequests counts the requests of an operation that are open.
func openRequests(s *Store, op [16]byte) (n int) {
	for _, ops := range s.requested {
		if slices.Contains(ops, op) {
			n++
		}
	}
	return n
}

func restore(s *Store, op [16]byte) (back, lifted int, err error) {
	err = commit(s, func(tx *Tx) (err error) { back, lifted, err = tx.Restore(op, 9, openRequests(s, op)); return err })
	return back, lifted, err
}

// Operations of version 1 can be undone, asked for, and folded.
func TestOperationsOfVersion1(t *testing.T) {
	s := openGolden(t, goldenFile1)
	mustLoad(t, s)
	for seq, want := range map[uint64]byte{3: 0, 5: 8, 8: 9, 4201: 9, 4: 0} { // 7 was folded, and its set deleted
		if got := whoTook(t, s, seq); got != want {
			t.Errorf("who took %d: %d, want %d", seq, got, want)
		}
	}
	if back, lifted, err := restore(s, id(9)); back != 2 || lifted != 0 || err != nil {
		t.Errorf("undone: %d back, %d lifted, %v", back, lifted, err)
	}
	if got := keys(mustLoad(t, restarted(t, s)).Live); !slices.Contains(got, 8) || !slices.Contains(got, 4201) {
		t.Errorf("live %v", got)
	}
	s = openGolden(t, goldenFile1)
	mustLoad(t, s)
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldTombstone(id(9), 100); return err })
	if got := whoTook(t, s, 4201); got != 9 {
		t.Errorf("after the fold %d took 4201", got)
	}
}

func TestOperationsInPages(t *testing.T) {
	s := open(t, path(t), quick)
	for n := range byte(5) {
		mustCommit(t, s, func(tx *Tx) error {
			return tx.Tombstone(Operation{ID: id(2 * (n + 1))}, 0, []uint64{uint64(n) + 1}, nil)
		})
	}
	all := operations(t, s, [16]byte{})
	if len(all) != 5 {
		t.Fatalf("there are %d", len(all))
	}
	for from, want := range []int{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5} {
		if got := operations(t, s, id(byte(from))); len(got) != 5-want || !slices.Equal(got, all[want:]) {
			t.Errorf("from %d: %q", from, got)
		}
	}
	stop := errors.New("enough")
	if err := s.Operations([16]byte{}, func(Operation, Progress) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestOperationPartsOutOfRange(t *testing.T) {
	s := open(t, path(t), quick)
	for _, part := range []int{-1, math.MaxUint16 + 1} {
		if err := commit(s, func(tx *Tx) error { return tx.Tombstone(Operation{ID: id(1)}, part, []uint64{1}, nil) }); err == nil {
			t.Errorf("part %d is accepted", part)
		}
	}
}

// Calls of one commit add up.
func TestSeveralRowsOfOneKindInACommit(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 6, "x") })
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.Finish(Live, []uint64{1}), tx.Finish(Live, []uint64{2}),
			tx.Hold([]uint64{3, 4}, true), tx.Hold([]uint64{4}, false),
			tx.Reschedule([]uint64{3}, 1), tx.Reschedule([]uint64{5}, 2), tx.Reschedule([]uint64{3}, 3),
			tx.Retry([]Retry{{Seq: 6, Due: 4, Attempts: 1}}), tx.Retry([]Retry{{Seq: 6, Due: 5, Attempts: 2}}),
		)
	})
	want := map[uint64]State{
		3: {Held: true, HasDue: true, Due: 3}, 4: {}, 5: {HasDue: true, Due: 2}, 6: {HasRetry: true, Due: 5, Attempts: 2, Claimed: 2},
	}
	got := map[uint64]State{}
	for seq, r := range mustLoad(t, restarted(t, s)).Live {
		got[seq] = r.State
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTooManyRowsInACommit(t *testing.T) {
	s := open(t, path(t), quick)
	tx, err := s.Begin(Bound{Rows: 1, Bytes: 16 << 20, Essential: true})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	for n := 0; err == nil && n <= math.MaxUint16; n++ {
		err = tx.Hold([]uint64{1}, true)
	}
	if err == nil {
		t.Error("rows beyond the last part were accepted")
	}
}

// A reschedule after a retry counts, and the other way round; attempts come
// from retries only. A held number is not given out again.
func TestStateInCommitOrder(t *testing.T) {
	s := open(t, path(t), foldAlways)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 2, "x") })
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(tx.Retry([]Retry{{Seq: 1, Due: 10, Attempts: 3, Class: 1}}), tx.Reschedule([]uint64{2}, 20), tx.Hold([]uint64{900}, true))
	})
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(tx.Retry([]Retry{{Seq: 2, Due: 30, Attempts: 1}}), tx.Reschedule([]uint64{1}, 40))
	})
	for _, when := range []string{"journalled", "folded"} {
		c := mustLoad(t, restarted(t, s))
		if got, want := c.Live[1].State, (State{HasRetry: true, HasDue: true, Due: 40, Attempts: 3, Claimed: 3, Class: 1}); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
		if got, want := c.Live[2].State, (State{HasRetry: true, Due: 30, Attempts: 1, Claimed: 1}); got != want {
			t.Errorf("%s: got %+v, want %+v", when, got, want)
		}
		if c.Head.NextSeq != 901 {
			t.Errorf("%s: next is %d, and 900 is held", when, c.Head.NextSeq)
		}
		if when == "journalled" {
			if !s.FoldStatePays() {
				t.Fatal("holds and due times do not count as state")
			}
			mustCommit(t, s, func(tx *Tx) error { _, err := tx.FoldState(1 << 20); return err })
			if s.Stats().JournalBytes != 0 {
				t.Error("rows are left in the journal")
			}
		}
	}
}

// TestDropRequested: a request holds its operation for as long as its message
// lives, and not if that was gone when the request was written.
func TestDropRequested(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 3, "x") })
	mustLoad(t, s)
	mustCommit(t, s, func(tx *Tx) error { return tx.Finish(Live, []uint64{2}) })
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldFinished(10); return err })
	for op, seqs := range map[byte][]uint64{1: {1, 2}, 2: {2}} {
		mustCommit(t, s, func(tx *Tx) error { return tx.Tombstone(Operation{ID: id(op)}, 0, nil, seqs) })
	}
	for op, want := range map[byte]bool{1: false, 2: true} {
		mustCommit(t, s, func(tx *Tx) error {
			dropped, err := tx.DropOperation(id(op))
			if dropped != want {
				t.Errorf("operation %d is dropped: %v", op, dropped)
			}
			return err
		})
	}
	if n := s.Stats().OpenRequested; n != 2 { // 1 by its operation, 2 by the same
		t.Errorf("%d requests are open", n)
	}
	if got := rowsOf(t, s, id(2)); got != "map[]" {
		t.Errorf("rows %s are left", got)
	}
}

// foldRead is the commit up to which a fold has read the journal.
func foldRead(s *Store) uint64 {
	if s.folding == nil {
		return 0
	}
	return s.folding.read
}

// TestFoldStateInBoundedSteps folds eight times as much state: it takes more
// steps, and none takes longer. Work is told by what is allocated for it.
func TestFoldStateInBoundedSteps(t *testing.T) {
	fold := func(segments uint64) (most uint64, steps int) {
		s := open(t, path(t), foldAlways)
		for n := range segments {
			mustCommit(t, s, func(tx *Tx) error {
				var retries []Retry
				for _, seq := range sequence(n<<segmentBits+1, 500, 1) {
					retries = append(retries, Retry{Seq: seq, Due: 1 << 40, Attempts: 2})
				}
				return errors.Join(putRow(tx, Live, n<<segmentBits+1, "x"), tx.Retry(retries))
			})
		}
		const limit, commit = 32 << 10, 8 << 10
		for more := true; more; steps++ {
			read, journal := foldRead(s), s.Stats().JournalBytes
			mustCommit(t, s, func(tx *Tx) (err error) {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				more, err = tx.FoldState(limit)
				runtime.ReadMemStats(&after)
				most = max(most, after.Mallocs-before.Mallocs)
				return err
			})
			if n := foldRead(s) - read; more && n > 8 { // of about 5 kB
				t.Errorf("a step has read %d commits of the journal", n)
			}
			if n := journal - s.Stats().JournalBytes; n > limit+commit {
				t.Errorf("a step has deleted %d bytes of the journal", n)
			}
		}
		if st := s.Stats(); st.JournalBytes != 0 || st.OverlayBytes == 0 {
			t.Errorf("after the fold the journal has %d bytes, the overlay %d", st.JournalBytes, st.OverlayBytes)
		}
		return most, steps
	}
	few, short := fold(16)
	many, long := fold(128)
	if long < 6*short {
		t.Errorf("it took %d steps, and %d for an eighth", long, short)
	}
	if many > 2*few {
		t.Errorf("a step made %d objects, and %d for an eighth of the state", many, few)
	}
}
