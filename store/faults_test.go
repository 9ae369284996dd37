package store

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"
)

var errInjected = errors.New("injected")

// failNth fails the n-th commit, from 0, at one of the seams.
func failNth(n int, before bool) *Options {
	seam := func() error {
		n--
		if n == -1 {
			return errInjected
		}
		return nil
	}
	o := &Options{NoSync: true, Reserve: 1}
	if before {
		o.BeforeCommit = seam
	} else {
		o.AfterCommit = seam
	}
	return o
}

// TestFailEveryCommit fails each commit of a story in turn, until one meets no
// failure: what failed before writing has left nothing, what failed after it
// is there, and the store is closed to further changes.
func TestFailEveryCommit(t *testing.T) {
	story := []func(*Tx) error{
		func(tx *Tx) error { return put(tx, 3, "x") },
		func(tx *Tx) error { return tx.Finish(Live, []uint64{1}) },
		func(tx *Tx) error { return tx.Tombstone(Operation{ID: [16]byte{1}}, 0, []uint64{2}, nil) },
		func(tx *Tx) error { _, _, err := tx.FoldFinished(10); return err },
		func(tx *Tx) error { _, _, err := tx.FoldTombstone([16]byte{1}, 10); return err },
		func(tx *Tx) error { return put(tx, 1, "y") },
		func(tx *Tx) error { return tx.Tombstone(Operation{ID: [16]byte{2}}, 0, []uint64{4}, []uint64{3}) },
		func(tx *Tx) error { return tx.Hold([]uint64{3, 4}, true) },
		func(tx *Tx) error { return tx.Reschedule([]uint64{4}, 9) },
		func(tx *Tx) error { _, _, err := tx.Restore([16]byte{2}, 1, 0); return err },
		func(tx *Tx) error { return tx.PutOperation(Operation{ID: [16]byte{3}}) },
		func(tx *Tx) error { return tx.Taken([16]byte{3}, []uint64{2}) },
		func(tx *Tx) error { _, err := tx.DropOperation([16]byte{1}); return err },
	}
	live := []string{ // after each step
		"", "[1 2 3]", "[2 3]", "[3]", "[3]", "[3]", "[3 4]",
		"[3 requested]", "[3 held requested]", "[3 held requested]", "[3 held 4 held due]",
	}
	ops := []string{"", "", "", "1:0", "1:0", "1:2", "1:2", "1:2 2:0", "1:2 2:0", "1:2 2:0", "1:2 2:0", "1:2 2:0 3:0", "1:2 2:0 3:1", "2:0 3:1"}
	for _, before := range []bool{true, false} {
		for n, clean := 0, false; !clean; n++ {
			file := path(t)
			s := open(t, file, failNth(n, before))
			done := 0
			var err error
			for ; done < len(story) && err == nil; done++ {
				err = commit(s, story[done])
			}
			if clean = err == nil; clean {
				break
			}
			if !errors.Is(err, ErrFailed) || !errors.Is(err, errInjected) {
				t.Fatalf("commit %d: got %v, want ErrFailed with its cause", n, err)
			}
			if err := commit(s, story[0]); !errors.Is(err, ErrFailed) {
				t.Fatalf("a commit after the failure: %v", err)
			}
			if err := s.Close(); err != nil && !errors.Is(err, ErrFailed) {
				t.Fatal(err)
			}
			if before {
				done-- // it left nothing
			}
			gotLive, gotOps := summary(t, open(t, file, quick))
			if want := live[min(done, len(live)-1)]; gotLive != want && (want != "" || gotLive != "[]") {
				t.Errorf("before %v, commit %d: live %s, want %s", before, n, gotLive, want)
			}
			if want := ops[done]; gotOps != want {
				t.Errorf("before %v, commit %d: operations %s, want %s", before, n, gotOps, want)
			}
		}
	}
}

// summary tells briefly what lives, and each operation with its progress, or
// with the count of what it took on arrival.
func summary(t *testing.T, s *Store) (live, ops string) {
	t.Helper()
	c := mustLoad(t, s)
	var rows, list []string
	for _, seq := range keys(c.Live) {
		text, st := fmt.Sprint(seq), c.Live[seq].State
		for _, is := range []struct {
			name string
			on   bool
		}{{"held", st.Held}, {"due", st.HasDue}, {"requested", st.Requested}} {
			if is.on {
				text += " " + is.name
			}
		}
		rows = append(rows, text)
	}
	err := s.Operations([16]byte{}, func(op Operation, progress Progress) error {
		n := uint64(progress)
		if op.ID[0] == 3 {
			n = op.Count
		}
		list = append(list, fmt.Sprintf("%d:%d", op.ID[0], n))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(rows), strings.Join(list, " ")
}

// TestFull fills a small file: publishing is refused before bbolt is reached,
// the essential goes on, and publishing works again when there is room.
func TestFull(t *testing.T) {
	const limit = 3 << 20
	file := path(t)
	s := open(t, file, &Options{NoSync: true, MaxSize: limit, Reserve: 1 << 20})
	body := strings.Repeat("b", 3000)
	publish := func() error {
		tx, err := s.Begin(Bound{Rows: 20, Bytes: 20 * 3200})
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := put(tx, 20, body); err != nil {
			return err
		}
		return tx.Commit()
	}
	fill := func() (n int) {
		for {
			err := publish()
			if errors.Is(err, ErrFull) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
	}
	first := fill()
	if first == 0 {
		t.Fatal("nothing was published")
	}
	if size, _ := s.size(); size > limit {
		t.Errorf("the file has %d bytes", size)
	}
	if s.Err() != nil {
		t.Errorf("a refusal failed the store: %v", s.Err())
	}
	_ = publish() // gives free what the last commit gave up
	begun, written := s.db.Stats().TxStats, lastCommit(t, s)
	if err := publish(); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	if after := s.db.Stats().TxStats; after.GetWrite() != begun.GetWrite() || lastCommit(t, s) != written {
		t.Error("a refused commit reached bbolt")
	}
	// Numbers jump, so that the segments are sealed and can be dropped.
	mustCommit(t, s, func(tx *Tx) error {
		h := tx.head
		h.NextSeq = (h.NextSeq>>segmentBits + 1) << segmentBits
		return tx.SetHead(h)
	})
	half := first * 10
	cancelled := Operation{ID: [16]byte{1}, Count: uint64(half)}
	mustCommit(t, s, func(tx *Tx) error { return tx.Tombstone(cancelled, 0, sequence(1, half, 1), nil) })
	mustCommit(t, s, func(tx *Tx) error { return tx.Finish(Live, sequence(uint64(half)+1, first*20-half, 1)) })
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldFinished(1 << 20); return err })
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldTombstone(cancelled.ID, 1<<20); return err })
	mustCommit(t, s, sweep)
	if again := fill(); again < first/2 {
		t.Errorf("after the sweep only %d commits found room, %d at first", again, first)
	}
	if size, _ := s.size(); size > limit {
		t.Errorf("the file has %d bytes", size)
	}
}

// TestFullDisk fills a file without a limit, on a disk that is full: what the
// last drop gave up is used, though bbolt frees it only with the next commit.
func TestFullDisk(t *testing.T) {
	room := int64(math.MaxInt64)
	o := &Options{NoSync: true, Reserve: 1, BeforeGrow: func(size int64) error {
		if size > room {
			return syscall.ENOSPC
		}
		return nil
	}}
	s := open(t, path(t), o)
	body := strings.Repeat("b", 3000)
	for range 8 {
		mustCommit(t, s, func(tx *Tx) error { return put(tx, 15, body) })
	}
	size, err := s.size()
	if err != nil {
		t.Fatal(err)
	}
	room = size
	for full := false; !full; {
		err := commit(s, func(tx *Tx) error { return put(tx, 15, body) })
		if full = errors.Is(err, ErrFull); err != nil && !full {
			t.Fatal(err)
		}
	}
	h := s.Head()
	for _, do := range []func(*Tx) error{
		func(tx *Tx) error { return tx.Finish(Live, sequence(1, int(h.NextSeq-1), 1)) },
		func(tx *Tx) error { // seals the segment
			h.NextSeq = segmentSize
			return tx.SetHead(h)
		},
		func(tx *Tx) error { _, _, err := tx.FoldFinished(1 << 20); return err },
		sweep,
	} {
		if err := commitBound(s, Bound{Essential: true}, do); err != nil {
			t.Fatal(err)
		}
	}
	if s.db.Stats().PendingPageN == 0 {
		t.Fatal("the drop has given up nothing")
	}
	if err := commit(s, func(tx *Tx) error { return put(tx, 15, body) }); err != nil {
		t.Errorf("after the drop: %v", err)
	}
}

// TestSweepTakesWhatWasMeasured has several segments to rewrite, small and large
// ones: each is rewritten in the room that was made for it.
func TestSweepTakesWhatWasMeasured(t *testing.T) {
	s := open(t, path(t), quick)
	const segments, rows, live = 8, 40, 4
	for n := range uint64(segments) {
		err := commitBound(s, Bound{Rows: 100, Bytes: live * 110_000, Essential: true}, func(tx *Tx) error {
			for i := range uint64(rows) {
				body := "small"
				if n%2 == 1 && i < live {
					body = strings.Repeat("b", 100_000)
				}
				if err := putRow(tx, Live, n<<segmentBits+i, body); err != nil {
					return err
				}
			}
			return errors.Join(
				tx.Finish(Live, sequence(n<<segmentBits+live, rows-live, 1)),
				tx.SetHead(Head{NextSeq: (n + 1) << segmentBits, NextDead: 1}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldFinished(1 << 20); return err })
	for n := range uint64(segments) {
		step, ok := s.NextSweep()
		if again, _ := s.NextSweep(); !ok || again != step || step.n != n || step.more != (n < segments-1) {
			t.Fatalf("step %d: got %+v, %v, then %+v", n, step, ok, again)
		}
		if n == 0 { // one that has no room lets the others go first
			for last := range uint64(segments) {
				refused, _ := s.NextSweep()
				if more := s.SweepRefused(refused); refused.n != last || more != (last < segments-1) {
					t.Errorf("segment %d was refused as step %d, more %v", refused.n, last, more)
				}
			}
		}
		trim(t, s)
		var r SweepResult
		err := commitBound(s, step.Bound, func(tx *Tx) (err error) { r, err = tx.Sweep(step); return err })
		if err != nil || r.Rewritten != 1 {
			t.Errorf("step %d: got %+v, %v", n, r, err)
		}
	}
}

// lastCommit returns the number that bbolt has given the last commit.
func lastCommit(t *testing.T, s *Store) (id int) {
	t.Helper()
	if err := s.View(func(v *View) error { id = v.tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

// TestFileFails takes the file away under a commit: the store has failed, and
// what was committed before is still there.
func TestFileFails(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 2, "x") })
	tx, err := s.Begin(Bound{Rows: 2, Bytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if err := put(tx, 2, "y"); err != nil {
		t.Fatal(err)
	}
	if err := s.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); !errors.Is(err, ErrFailed) {
		t.Errorf("Commit: got %v, want ErrFailed", err)
	}
	if _, err := s.Begin(Bound{}); !errors.Is(err, ErrFailed) {
		t.Errorf("Begin: got %v, want ErrFailed", err)
	}
	if s.Head().NextSeq != 3 {
		t.Errorf("the head moved to %d", s.Head().NextSeq)
	}
	_ = s.Close() // cannot close what is closed
	if got := keys(mustLoad(t, open(t, file, quick)).Live); len(got) != 2 {
		t.Errorf("live %v, want the first two", got)
	}
}

// TestFileStaysWithinABound publishes and finishes many times over: dropped
// pages are used again.
func TestFileStaysWithinABound(t *testing.T) {
	rounds := 30
	if soak() {
		rounds = 1000
	}
	s := open(t, path(t), quick)
	body := strings.Repeat("b", 200)
	var after int64
	for round := range rounds {
		from := s.Head().NextSeq
		for range 4 {
			mustCommit(t, s, func(tx *Tx) error { return put(tx, 1024, body) })
		}
		mustCommit(t, s, func(tx *Tx) error { return tx.Finish(Live, sequence(from, 4096, 1)) })
		mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldFinished(1 << 20); return err })
		for more := true; more; {
			mustCommit(t, s, func(tx *Tx) error {
				r, err := sweepNext(tx)
				more = r.More
				return err
			})
		}
		if round == 4 {
			after = s.Stats().UsedBytes
		}
	}
	// Two segments may be there at a time: the one in use, and the last.
	if used := s.Stats().UsedBytes; used > after*3/2 {
		t.Errorf("the file grew from %d to %d bytes in %d rounds", after, used, rounds)
	}
	if n := s.Stats().Segments; n > 3 {
		t.Errorf("%d segments are left", n)
	}
}

// fill stores rows of 10 kB in both tables, one in each commit.
func fill(t *testing.T, s *Store, n int) {
	t.Helper()
	body := strings.Repeat("b", 10_000)
	for range n {
		h := s.Head()
		mustCommit(t, s, func(tx *Tx) error {
			err := errors.Join(putRow(tx, Live, h.NextSeq, body), putRow(tx, Dead, h.NextDead, body))
			h.NextSeq++
			h.NextDead++
			return errors.Join(err, tx.SetHead(h))
		})
	}
}

// TestSegmentsAreSealedByBytes: numbering leaves a segment of large rows long
// before its numbers are used up, so that it can be given back, and never comes
// back to it.
func TestSegmentsAreSealedByBytes(t *testing.T) {
	file := path(t)
	o := &Options{NoSync: true, Reserve: 1, SealBytes: 50_000}
	wantHead := func(when string, s *Store, next uint64) {
		t.Helper()
		if h := s.Head(); h.NextSeq != next || h.NextDead != next {
			t.Errorf("%s: got %+v, want %d", when, h, next)
		}
	}
	s := open(t, file, o)
	fill(t, s, 4)
	wantHead("40 kB", s, 5)
	fill(t, s, 1)
	wantHead("50 kB", s, segmentSize)
	crashed := path(t)
	copyFile(t, file, crashed)
	fill(t, s, 1)
	wantHead("60 kB", s, segmentSize+1)

	s = open(t, crashed, o) // it says that the next number is 6
	mustLoad(t, s)
	wantHead("opened again", s, segmentSize)
	for _, tab := range []Table{Live, Dead} {
		mustCommit(t, s, func(tx *Tx) error { return tx.Finish(tab, sequence(1, 5, 1)) })
	}
	mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldFinished(100); return err })
	for range 2 {
		mustCommit(t, s, func(tx *Tx) error {
			r, err := sweepNext(tx)
			if r.Dropped != 1 {
				t.Errorf("Sweep: got %+v", r)
			}
			return err
		})
	}
	if st := s.Stats(); st.Segments != 0 || st.Rows != 0 {
		t.Errorf("left: %+v", st)
	}
	again := path(t)
	copyFile(t, crashed, again)
	s = open(t, again, o)
	mustLoad(t, s)
	wantHead("opened after the sweep", s, segmentSize)
	fill(t, s, 5)
	wantHead("another 50 kB", s, 2*segmentSize)
}

// TestFoldPays: many finished messages, large ones, or any when the file is full.
func TestFoldPays(t *testing.T) {
	s := open(t, path(t), &Options{NoSync: true, Reserve: 1, MaxSize: 64 << 20})
	next := uint64(1)
	finish := func(n int) bool {
		mustCommit(t, s, func(tx *Tx) error { return tx.Finish(Live, sequence(next, n, 1)) })
		next += uint64(n)
		return s.FoldPays()
	}
	fold := func() { mustCommit(t, s, func(tx *Tx) error { _, _, err := tx.FoldFinished(1 << 20); return err }) }
	if finish(4000) || !finish(100) {
		t.Error("it is not 4,096 that pay")
	}
	fold()
	if s.FoldPays() {
		t.Error("it pays after a fold")
	}
	body := strings.Repeat("b", 500_000)
	for range 40 {
		err := commitBound(s, Bound{Rows: 1, Bytes: 510_000}, func(tx *Tx) error { return put(tx, 1, body) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if finish(20) || !finish(20) {
		t.Error("it is not 16 MiB that pay")
	}
	fold()
	if finish(1) {
		t.Error("one pays")
	}
	if _, err := s.Begin(Bound{Bytes: 64 << 20}); !errors.Is(err, ErrFull) {
		t.Fatalf("got %v", err)
	}
	if !s.FoldPays() {
		t.Error("it does not pay when the file is full")
	}
	if err := commitBound(s, Bound{}, func(*Tx) error { return nil }); err != nil || s.FoldPays() {
		t.Errorf("it pays when there is room again (%v)", err)
	}
}

// TestFullSegmentIsSealed: a refusal seals the newest segment, whatever its
// size, unless there is little in it.
func TestFullSegmentIsSealed(t *testing.T) {
	s := open(t, path(t), &Options{NoSync: true, Reserve: 1, MaxSize: 64 << 20})
	refused := func() {
		t.Helper()
		if _, err := s.Begin(Bound{Bytes: 64 << 20}); !errors.Is(err, ErrFull) {
			t.Fatalf("got %v", err)
		}
	}
	fill(t, s, 10)
	refused()
	if s.Head().NextSeq != 11 {
		t.Errorf("100 kB: the next number is %d", s.Head().NextSeq)
	}
	fill(t, s, 100)
	if s.Head().NextSeq != 111 {
		t.Errorf("before a refusal the next number is %d", s.Head().NextSeq)
	}
	if _, err := s.Begin(Bound{Bytes: 64 << 20, Essential: true}); !errors.Is(err, ErrFull) || s.Head().NextSeq != 111 {
		t.Errorf("after the refusal of the essential the next number is %d, %v", s.Head().NextSeq, err)
	}
	refused()
	if h := s.Head(); h.NextSeq != segmentSize || h.NextDead != segmentSize {
		t.Errorf("1.1 MB: got %+v", h)
	}
}
