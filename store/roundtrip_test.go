package store

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// A checksum taken over more than its row passes every test but this one.
func TestCommitsOfSeveralMessagesSurviveReopen(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 100, "first") })
	mustCommit(t, s, func(tx *Tx) error {
		if err := putRow(tx, Dead, 1, "dead"); err != nil {
			return err
		}
		return put(tx, 50, "second")
	})
	key := s.Key()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, file, quick)
	c := mustLoad(t, s)
	if len(c.Live) != 150 || c.Live[1].Body != "first" || c.Live[150].Body != "second" || c.Dead[1].Body != "dead" {
		t.Errorf("got %d live and %d dead", len(c.Live), len(c.Dead))
	}
	if s.Key() != key || !s.Clean() || c.Head.NextSeq != 151 || c.Head.NextDead != 2 {
		t.Errorf("key %x (was %x), clean %v, head %+v", s.Key(), key, s.Clean(), c.Head)
	}
}

func TestCleanMeansClosed(t *testing.T) {
	file, crashed := path(t), path(t)
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 1, "") })
	copyFile(t, file, crashed)
	if open(t, crashed, quick).Clean() {
		t.Error("a file that was not closed is called clean")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, file, quick)
	if !s.Clean() {
		t.Error("a file that was closed is not called clean")
	}
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 1, "") })
	again := path(t)
	copyFile(t, file, again)
	if open(t, again, quick).Clean() {
		t.Error("the mark outlived the first commit")
	}
}

func TestBodiesOfAllSizes(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	var bodies []string
	for _, n := range []int{0, 1, 100, maxRow - 16, maxRow - 8, maxRow - 7, maxRow, maxRow + 1, 2*maxRow - 8, 2 * maxRow, 100_000, 1 << 20} {
		bodies = append(bodies, strings.Repeat("x", n))
	}
	for _, body := range bodies {
		tx, err := s.Begin(Bound{Rows: 1, Bytes: int64(len(body)) + 200})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := s.size()
		if err := put(tx, 1, body); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if after, _ := s.size(); after != before {
			t.Errorf("a body of %d bytes grew the file within its commit", len(body))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := mustLoad(t, open(t, file, quick))
	for i, body := range bodies {
		if got := c.Live[uint64(i+1)].Body; got != body {
			t.Errorf("body of %d bytes came back with %d", len(body), len(got))
		}
	}
}

func TestRecordKeepsEveryField(t *testing.T) {
	want := Record{
		ID: [16]byte{1, 2, 3}, Wall: math.MinInt64, Due: math.MaxInt64, TimeoutMs: 7, Retries: math.MaxUint32, Priority: -3,
		Method: []byte("PUT"), URL: []byte("http://a"), Topic: []byte("t"), Queue: []byte("q"), Schedule: []byte("s"),
		CallerIP: []byte("::1"), FlowKey: []byte("f"), Labels: [][]byte{[]byte("l1"), []byte("l2")},
		Died: 9, Attempts: 8, Status: 65535, Reason: []byte("why"),
	}
	row := AppendRecord([]byte("before"), &want)[len("before"):]
	SealRecord(row, 77, want.ID)
	var got Record
	if err := DecodeRecord(77, row, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := DecodeRecord(78, row, &got); err == nil {
		t.Error("a row under another number decodes")
	}
	for i := range row {
		bad := bytes.Clone(row)
		bad[i] ^= 4
		if DecodeRecord(77, bad, &got) == nil {
			t.Errorf("a flipped bit in byte %d is not noticed", i)
		}
	}
}

func TestRecordOverAPageIsRefused(t *testing.T) {
	s := open(t, path(t), quick)
	err := commit(s, func(tx *Tx) error {
		return tx.Put(Live, 1, make([]byte, MaxRecord+1), nil)
	})
	if err == nil {
		t.Error("no error")
	}
}

func TestViewOfWhatIsNotThere(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 3, "x") })
	err := s.View(func(v *View) error {
		for _, seq := range []uint64{4, 9000} {
			record, _ := v.Record(Live, seq)
			body, _ := v.Body(Live, seq)
			if record != nil || body != nil {
				t.Errorf("message %d has rows", seq)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAfterClose(t *testing.T) {
	s := open(t, path(t), quick)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	if _, err := s.Begin(Bound{}); !errors.Is(err, ErrClosed) {
		t.Errorf("Begin: %v", err)
	}
	if err := s.View(func(*View) error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("View: %v", err)
	}
	_ = s.Stats() // must not panic
}

// Room is made before a transaction, so bbolt never extends the file itself.
func TestFileIsExtendedBeforeItIsNeeded(t *testing.T) {
	file := path(t)
	s := open(t, file, &Options{NoSync: true})
	for i := range 30 {
		body := strings.Repeat("b", 1+i*2000)
		tx, err := s.Begin(Bound{Rows: 40, Bytes: int64(40 * (len(body) + 200))})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := s.size()
		if err := put(tx, 40, body); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if after, _ := s.size(); after != before {
			t.Fatalf("commit %d grew the file from %d to %d", i, before, after)
		}
	}
}

func TestSetsOfAllShapes(t *testing.T) {
	for _, set := range [][]uint64{{1}, {5, 6, 7}, {1, math.MaxUint64}, sequence(0, 20_000, 1), sequence(9, 5_000, 1_000_003)} {
		probes := []uint64{set[0], set[len(set)-1], set[len(set)/2] + 1}
		checkChunks(t, chunkSet(nil, set), set, probes)
		checkChunks(t, chunkRuns(set), set, probes)
	}
}

// TestRegularSetsAreSmall: whoever cancels everything writes next to nothing.
func TestRegularSetsAreSmall(t *testing.T) {
	size := 0
	for _, row := range chunkRuns(sequence(5, 1_000_000, 10)) {
		size += len(row)
	}
	if size > 3000 {
		t.Errorf("a million numbers in turn take %d bytes", size)
	}
}

func sequence(from uint64, n int, step uint64) (out []uint64) {
	for range n {
		out = append(out, from)
		from += step
	}
	return out
}

// Close may come while others read: they are told so.
func TestCloseWhileOthersRead(t *testing.T) {
	for range 50 {
		s := open(t, path(t), quick)
		mustCommit(t, s, func(tx *Tx) error { return put(tx, 3, "x") })
		var readers sync.WaitGroup
		started := make(chan struct{}, 4)
		for range cap(started) {
			readers.Go(func() {
				started <- struct{}{}
				for {
					_ = s.Stats()
					err := s.View(func(v *View) error {
						row, err := v.Record(Live, 2)
						if err == nil && row == nil {
							err = errors.New("the row is gone")
						}
						return err
					})
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil {
						t.Errorf("View: got %v, want ErrClosed", err)
						return
					}
				}
			})
		}
		for range cap(started) {
			<-started
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		readers.Wait()
	}
}
