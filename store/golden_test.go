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

var update = flag.Bool("update", false, "write testdata/v1.db anew")

const goldenFile = "testdata/v1.db"

func golden(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile(goldenFile)
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
		CallerIP: []byte("::1"), FlowKey: []byte("f"), Labels: [][]byte{[]byte("l1"), []byte("l2")},
		Died: 9, Attempts: 8, Status: 503, Reason: []byte("why"),
	}
	goldenBody = Body{
		Header:         []Field{{[]byte("A"), []byte("1")}, {[]byte("B"), []byte("2")}},
		Payload:        []byte(strings.Repeat("payload ", 1000)), // several rows
		ResponseHeader: []Field{{[]byte("C"), []byte("3")}},
		ResponseBody:   []byte("no"),
	}
)

// TestGoldenFile reads a file of version 1 that is checked in. A new version
// gets a file of its own, and this one stays readable.
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
	file := path(t)
	if err := os.WriteFile(file, golden(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, file, quick)
	c := mustLoad(t, s)
	want := content{
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
			"07000000000000000000000000000000 kind 1 count 1 blocker 4 label=a oops folded true",
			"08000000000000000000000000000000 kind 1 count 1 blocker 0   folded false",
			"09000000000000000000000000000000 kind 2 count 2 blocker 0 all  folded false",
		},
		Head: Head{NextSeq: 4202, NextDead: 3, LastCreated: 42},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	if s.Key() != goldenKey || !s.Clean() {
		t.Errorf("key %x, clean %v", s.Key(), s.Clean())
	}
	err := s.View(func(v *View) error {
		var rec Record
		row, _ := v.Record(Live, 9)
		if err := DecodeRecord(9, row, &rec); err != nil || !reflect.DeepEqual(rec, goldenRecord) {
			t.Errorf("record: %v, got %+v", err, rec)
		}
		var body Body
		row, _ = v.Body(Live, 9)
		if err := DecodeBody(row, &body); err != nil || !reflect.DeepEqual(body, goldenBody) {
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
		h.NextSeq, h.NextDead, h.LastCreated = 10, 3, 42
		full := AppendRecord(nil, &goldenRecord)
		SealRecord(full, 9, goldenRecord.ID)
		return errors.Join(
			tx.tx.Bucket(bucketMeta).Put(keySecret, appendSum(goldenKey[:], 0, 0)), tx.SetHead(h),
			tx.Put(Live, 9, full, AppendBody(nil, &goldenBody)),
			putRow(tx, Dead, 1, "deleted"), putRow(tx, Dead, 2, "gone"),
		)
	},
	func(tx *Tx) error {
		return errors.Join(
			tx.Finish(Live, []uint64{2}), tx.Finish(Dead, []uint64{1}),
			tx.Retry([]Retry{{Seq: 4, Due: 99, Attempts: 2, Class: 1}}), tx.Claims([]Claim{{4, 3}, {7, 1}}),
			tx.Tombstone(Operation{ID: [16]byte{7}, Kind: 1, Blocker: 4, Filter: []byte("label=a"), Reason: []byte("oops"), Count: 1}, 0, []uint64{3}),
		)
	},
	func(tx *Tx) error { _, _, err := tx.FoldFinished(100); return err },
	func(tx *Tx) error { _, _, err := tx.FoldTombstone([16]byte{7}, 100); return err },
	func(tx *Tx) error { _, err := tx.FoldState(1 << 20); return err },
	func(tx *Tx) error { // what is not folded yet
		h := tx.head
		h.NextSeq = 4202
		return errors.Join(
			putRow(tx, Live, 4200, "second segment"), putRow(tx, Live, 4201, "cancelled"), tx.SetHead(h),
			tx.Finish(Live, []uint64{6}),
			tx.Retry([]Retry{{Seq: 7, Due: 500, Attempts: 1, Class: 3}}), tx.Claims([]Claim{{4200, 1}}),
			tx.Requested(Operation{ID: [16]byte{8}, Kind: 1, Count: 1}, 0, []uint64{5}),
			tx.Tombstone(Operation{ID: [16]byte{9}, Kind: 2, Filter: []byte("all"), Count: 2}, 0, []uint64{8, 4201}),
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
