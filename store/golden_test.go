package store

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

var update = flag.Bool("update", false, "write the golden file of the current version anew")

// The golden files, one for each version. Only the newest can be written.
const (
	goldenFile1 = "testdata/v1.db"
	goldenFile2 = "testdata/v2.db"
	goldenFile3 = "testdata/v3.db"
	goldenFile  = "testdata/v4.db"
)

func golden(t testing.TB) []byte { return readGolden(t, goldenFile) }

func readGolden(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var (
	goldenKey    = [16]byte{0: 'k', 15: 'y'}
	goldenRecord = Record{
		ID: [16]byte{6: 6, 15: 15}, Wall: 1_700_000_000_000, Due: 1_700_000_060_000, TimeoutMs: 7000, Retries: 4, Priority: -3,
		Method: []byte("PUT"), URL: []byte("http://host/full"), Topic: []byte("t"), Queue: []byte("q"), Schedule: []byte("s"),
		CallerIP: []byte("::1"), FlowKey: []byte("f"), Blocks: []byte("bq"), Labels: [][]byte{[]byte("l1"), []byte("l2")},
		Died: 9, Attempts: 8, Status: 503, Reason: []byte("why"),
	}
	goldenSubject = Subject{
		ID: [16]byte{6: 6, 15: 15}, URL: "http://host/full", Queue: "q", Topic: "t", Schedule: "s", CallerIP: "::1", FlowKey: "f",
		Labels: []string{"l1", "l2"},
	}
	goldenEvents = []Event{
		{Kind: 1, At: 42},
		{Kind: 3, At: 43, Attempt: 2, Status: 503, Due: 99, Reason: "why", Operation: [16]byte{6}, Count: 7, Requested: 8},
	}
	goldenBody = Body{
		Header:         []Field{{[]byte("A"), []byte("1")}, {[]byte("B"), []byte("2")}},
		Payload:        []byte(strings.Repeat("payload ", 1000)), // several rows
		ResponseHeader: []Field{{[]byte("C"), []byte("3")}},
		ResponseBody:   []byte("no"),
		RetryDelay:     []byte("1000 * retried"),
		More:           []Field{{[]byte("a"), []byte("b")}},
	}
)

// goldenReserved are the parts of reservations, in order.
var goldenReserved = []reservedPart{
	{ReservedPart{Minute: -1}, []Reservation{{Key: [16]byte{1}, ID: [16]byte{2}, At: -1}}},
	{ReservedPart{Minute: 28_333_333, Part: 3}, []Reservation{
		{Key: [16]byte{3, 15: 3}, ID: [16]byte{4, 15: 4}, At: 28_333_333 * 60_000},
		{Key: [16]byte{5}, ID: [16]byte{6}, At: 28_333_333*60_000 + 59_999},
	}},
}

// goldenBody3 is what files before version 4 have.
func goldenBody3() Body {
	b := goldenBody
	b.More = nil
	return b
}

// goldenBody2 is what files before version 3 have.
func goldenBody2() Body {
	b := goldenBody3()
	b.RetryDelay = nil
	return b
}

// openGolden opens a copy.
func openGolden(t *testing.T, name string) *Store {
	t.Helper()
	file := path(t)
	if err := os.WriteFile(file, readGolden(t, name), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, file, quick)
}

// goldenContent1 is what the file of version 1 holds. What version 2 has added
// is not there, and its blockers were numbers, which are not kept.
var goldenContent1 = content{
	Live: map[uint64]row{
		1:    {URL: "http://host/1", Body: "golden"},
		4:    {URL: "http://host/4", Body: "golden", State: State{HasRetry: true, Due: 99, Attempts: 2, Claimed: 3, Class: 1}},
		5:    {URL: "http://host/5", Body: "golden", State: State{Requested: true}},
		7:    {URL: "http://host/7", Body: "golden", State: State{HasRetry: true, Due: 500, Attempts: 1, Claimed: 1, Class: 3}},
		9:    {URL: "http://host/full", Body: string(goldenBody.Payload)},
		4200: {URL: "http://host/4200", Body: "second segment", State: State{Claimed: 1}},
	},
	Dead: map[uint64]row{2: {URL: "http://host/2", Body: "gone"}},
	Ops: []string{
		"07000000000000000000000000000000 progress 2 Kind 1 Count 1 Filter label=a Reason oops",
		"08000000000000000000000000000000 progress 0 Kind 1 Count 1 First 5 Last 5",
		"09000000000000000000000000000000 progress 0 Kind 2 Count 2 Filter all First 8 Last 4201",
	},
	Head: Head{NextSeq: 4202, NextDead: 3, LastCreated: 42},
}

// TestGoldenFile1 reads a file of version 1. It stays one until the first
// commit, which older code could not read.
func TestGoldenFile1(t *testing.T) {
	s := openGolden(t, goldenFile1)
	if c := mustLoad(t, s); !reflect.DeepEqual(c, goldenContent1) {
		t.Errorf("got  %+v\nwant %+v", c, goldenContent1)
	}
	checkGoldenRows(t, s, goldenBody2())
	version := func() uint64 { return restarted(t, s).format }
	if got := version(); got != 1 {
		t.Errorf("after the open the file has version %d", got)
	}
	if err := s.closeCleanly(); err != nil {
		t.Fatal(err)
	}
	if got := version(); got != 1 {
		t.Errorf("after the close the file has version %d", got)
	}
	mustCommit(t, s, func(tx *Tx) error { return tx.SetHead(tx.head) })
	if got := version(); got != plainVersion || s.format != plainVersion {
		t.Errorf("after a commit the file has version %d, memory %d", got, s.format)
	}
	if c := mustLoad(t, restarted(t, s)); !reflect.DeepEqual(c, goldenContent1) {
		t.Errorf("after a commit: got  %+v\nwant %+v", c, goldenContent1)
	}
}

// TestGoldenFile2 reads a file of version 2, which holds what one of version 3
// does but for how messages say when to try again.
func TestGoldenFile2(t *testing.T) {
	s := openGolden(t, goldenFile2)
	if c := mustLoad(t, s); !reflect.DeepEqual(c, goldenContent()) {
		t.Errorf("got  %+v\nwant %+v", c, goldenContent())
	}
	checkGoldenRows(t, s, goldenBody2())
}

// TestGoldenFile3 reads a file of version 3, whose sets have no runs.
func TestGoldenFile3(t *testing.T) {
	s := openGolden(t, goldenFile3)
	if c := mustLoad(t, s); !reflect.DeepEqual(c, goldenContent()) {
		t.Errorf("got  %+v\nwant %+v", c, goldenContent())
	}
	checkGoldenRows(t, s, goldenBody3())
}

// TestGoldenFile reads a file of this version.
func TestGoldenFile(t *testing.T) {
	if *update {
		file := path(t)
		s := open(t, file, quick)
		for _, step := range goldenSteps {
			mustCommit(t, s, step)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		writeCompact(t, file, goldenFile)
	}
	s := openGolden(t, goldenFile)
	want := goldenContent()
	want.Ops = append(want.Ops, "0b000000000000000000000000000000 progress 0 Kind 1 Count 50 First 20 Last 510")
	if c := mustLoad(t, s); !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	checkGoldenRows(t, s, goldenBody)
	checkGoldenEvents(t, s)
	if got := objectsOf(t, openGolden(t, goldenFile)); !reflect.DeepEqual(got, []string{"3 name 5000 \x00\x00\x00"}) {
		t.Errorf("objects %q", got)
	}
	if got := reservedOf(t, openGolden(t, goldenFile)); !reflect.DeepEqual(got, goldenReserved) {
		t.Errorf("reservations %+v", got)
	}
	err := s.View(func(v *View) error {
		b, ok := v.App("mine")
		if !ok {
			t.Fatal("the caller's own bucket is gone")
		}
		if got := b.Get([]byte("small")); string(got) != "value" {
			t.Errorf("the caller's own value is %q", got)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// goldenContent is what the files of versions 2 and 3 hold, and most of what those
// of version 4 do.
func goldenContent() content {
	return content{
		Live: map[uint64]row{
			1:    {URL: "http://host/1", Body: "golden", State: State{HasDue: true, Due: 77}},
			4:    {URL: "http://host/4", Body: "golden", State: State{HasRetry: true, Due: 99, Attempts: 2, Claimed: 3, Class: 1, Held: true}},
			5:    {URL: "http://host/5", Body: "golden", State: State{Requested: true, Held: true}},
			7:    {URL: "http://host/7", Body: "golden", State: State{HasRetry: true, HasDue: true, Due: -800, Attempts: 1, Claimed: 1, Class: 3}},
			9:    {URL: "http://host/full", Body: string(goldenBody.Payload)},
			10:   {URL: "http://host/10", Body: "restored"},
			4200: {URL: "http://host/4200", Body: "second segment", State: State{Claimed: 1}},
		},
		Dead: map[uint64]row{2: {URL: "http://host/2", Body: "gone"}},
		Ops: []string{
			"05000000000000000000000000000000 progress 1 Kind 1 Count 2 First 11 Last 12",
			"06000000000000000000000000000000 progress 0 Kind 1 Count 1 Requested 1 Restored 55 Back 1 Lifts 1 First 9 Last 10",
			"07000000000000000000000000000000 progress 2 Kind 1 At 1000 AsOf 9 Count 1 Blocker 06000000000000000000000000000000 " +
				"Policy 2 Filter label=a Reason oops Index label Scanned 3 Took 4 First 3 Last 3",
			"08000000000000000000000000000000 progress 0 Kind 1 Requested 1 First 5 Last 5",
			"09000000000000000000000000000000 progress 0 Kind 2 Count 2 Filter all First 8 Last 4201",
			"0a000000000000000000000000000000 progress 0 Kind 3 Count 3 Until 9000 Lifted 8000 First 4202 Last 4205",
		},
		Head: Head{NextSeq: 4206, NextDead: 3, LastCreated: 42},
	}
}

// checkGoldenEvents looks at the log, which came with version 4.
func checkGoldenEvents(t *testing.T, s *Store) {
	t.Helper()
	list, at := readEvents(t, s, EventRange{Oldest: true, Rows: 10})
	want := []logged{
		{goldenSubject, goldenEvents[0]}, {goldenSubject, goldenEvents[1]}, {Subject{}, Event{Kind: 8, At: 44, Operation: [16]byte{9}, Count: 2}},
	}
	if !reflect.DeepEqual(list, want) || len(at) != 3 || at[2] != (Position{44, 3}) {
		t.Errorf("events at %v\ngot  %v\nwant %v", at, list, want)
	}
}

// checkGoldenRows looks at what all golden files have.
func checkGoldenRows(t *testing.T, s *Store, wantBody Body) {
	t.Helper()
	if s.Key() != goldenKey || !s.Clean() {
		t.Errorf("key %x, clean %v", s.Key(), s.Clean())
	}
	err := s.View(func(v *View) error {
		var rec Record
		row, _ := v.Record(Live, 9)
		want := goldenRecord
		if wantBody.More == nil {
			want.Blocks = nil // it came with version 4
		}
		if err := DecodeRecord(9, row, &rec); err != nil || !reflect.DeepEqual(rec, want) {
			t.Errorf("record: %v, got %+v", err, rec)
		}
		var body Body
		row, _ = v.Body(Live, 9)
		if err := DecodeBody(row, &body); err != nil || !reflect.DeepEqual(body, wantBody) {
			t.Errorf("body: %v, got %+v", err, body)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// goldenSteps are the commits of the golden file: rows of every bucket, folded
// and not.
var goldenSteps = []func(*Tx) error{
	func(tx *Tx) error {
		if err := put(tx, 8, "golden"); err != nil {
			return err
		}
		h := tx.head
		h.NextSeq, h.NextDead, h.LastCreated = 13, 3, 42
		full := AppendRecord(nil, &goldenRecord)
		SealRecord(full, 9, goldenRecord.ID)
		return errors.Join(
			tx.tx.Bucket(bucketMeta).Put(keySecret, appendSum(goldenKey[:], 0, 0)), tx.SetHead(h),
			tx.Put(Live, 9, full, AppendBody(nil, &goldenBody)), putRow(tx, Live, 10, "restored"),
			putRow(tx, Live, 11, "half folded"), putRow(tx, Live, 12, "half folded"),
			putRow(tx, Dead, 1, "deleted"), putRow(tx, Dead, 2, "gone"),
		)
	},
	func(tx *Tx) error {
		return errors.Join(
			tx.Finish(Live, []uint64{2}), tx.Finish(Dead, []uint64{1}),
			tx.Retry([]Retry{{Seq: 4, Due: 99, Attempts: 2, Class: 1}}), tx.Claims([]Claim{{4, 3}, {7, 1}}),
			tx.Reschedule([]uint64{1}, 77), tx.Hold([]uint64{4, 9}, true),
			tx.Tombstone(Operation{ID: [16]byte{5}, Kind: 1}, 0, []uint64{11}, nil),
			tx.Tombstone(Operation{ID: [16]byte{5}, Kind: 1}, 1, []uint64{12}, nil),
			tx.Tombstone(Operation{ID: [16]byte{6}, Kind: 1}, 0, []uint64{10}, []uint64{9}),
			tx.Tombstone(Operation{
				ID: [16]byte{7}, Kind: 1, At: 1000, AsOf: 9, Blocker: [16]byte{6}, Policy: 2,
				Filter: []byte("label=a"), Reason: []byte("oops"), Index: []byte("label"), Scanned: 3, Took: 4,
			}, 0, []uint64{3}, nil),
		)
	},
	func(tx *Tx) error { _, _, err := tx.FoldFinished(100); return err },
	func(tx *Tx) error { _, _, err := tx.FoldTombstone([16]byte{5}, 1); return err },
	func(tx *Tx) error { _, _, err := tx.FoldTombstone([16]byte{7}, 100); return err },
	func(tx *Tx) error { _, err := tx.FoldState(1 << 20); return err },
	func(tx *Tx) error { _, _, err := tx.Restore([16]byte{6}, 55, 1); return err },
	func(tx *Tx) error { // what is not folded yet
		h := tx.head
		h.NextSeq = 4206
		standing := Operation{ID: [16]byte{10}, Kind: 3, Until: 9000}
		lifted := standing
		lifted.Lifted = 8000
		app, err := tx.App("mine")
		return errors.Join(
			err, app.Put([]byte("small"), []byte("value")), app.Put([]byte("large"), make([]byte, 5000)),
			putRow(tx, Live, 4200, "second segment"), putRow(tx, Live, 4201, "cancelled"), tx.SetHead(h),
			tx.Finish(Live, []uint64{6}),
			tx.Retry([]Retry{{Seq: 7, Due: 500, Attempts: 1, Class: 3}}), tx.Claims([]Claim{{4200, 1}}),
			tx.Reschedule([]uint64{7}, -800), tx.Hold([]uint64{5}, true), tx.Hold([]uint64{9}, false),
			tx.Tombstone(Operation{ID: [16]byte{8}, Kind: 1}, 0, nil, []uint64{5}),
			tx.Tombstone(Operation{ID: [16]byte{9}, Kind: 2, Filter: []byte("all")}, 0, []uint64{8, 4201}, nil),
			tx.PutOperation(standing), tx.Taken(standing.ID, []uint64{4202, 4205}), tx.Taken(standing.ID, []uint64{4203}),
			tx.PutOperation(lifted),
			tx.PutObject(3, "name", make([]byte, 5000)),
			tx.Reserve(goldenReserved[0].part, goldenReserved[0].list), tx.Reserve(goldenReserved[1].part, goldenReserved[1].list),
			tx.LogEvents(&goldenSubject, goldenEvents...), tx.LogEvents(&Subject{}, Event{Kind: 8, At: 44, Operation: [16]byte{9}, Count: 2}),
			tx.Tombstone(Operation{ID: [16]byte{11}, Kind: 1}, 0, sequence(20, 50, 10), nil),
		)
	},
}

// writeCompact copies a file without the room that was made in it.
func writeCompact(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	src, err := bolt.Open(from, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	dst, err := bolt.Open(to, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	if err := bolt.Compact(dst, src, 0); err != nil {
		t.Fatal(err)
	}
}
