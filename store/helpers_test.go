package store

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

var quick = &Options{NoSync: true, Reserve: 1}

// open opens a file; at the end of the test it is closed and checked.
func open(t testing.TB, path string, o *Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrFailed) {
			t.Errorf("Close: %v", err)
		}
		checkPages(t, path)
	})
	return s
}

// checkPages runs bbolt's own consistency check on a closed file.
func checkPages(t testing.TB, path string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second, PreLoadFreelist: true})
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Errorf("check: %v", err)
		return
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		for fault := range tx.Check() {
			t.Errorf("tx.Check: %v", fault)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func path(t testing.TB) string { return filepath.Join(t.TempDir(), "q.db") }

// content is what a file holds, as far as users can tell.
type content struct {
	Live, Dead map[uint64]row
	Ops        []string
	Head       Head
}

type row struct {
	URL   string
	Body  string
	State State
}

// load reads everything, bodies included.
func load(s *Store) (c content, err error) {
	c = content{Live: map[uint64]row{}, Dead: map[uint64]row{}}
	err = s.Load(LoadFuncs{
		Row: func(tab Table, seq uint64, record []byte, st State) error {
			var rec Record
			if err := DecodeRecord(seq, record, &rec); err != nil {
				return err
			}
			into := c.Live
			if tab == Dead {
				into = c.Dead
			}
			into[seq] = row{URL: string(rec.URL), State: st}
			return nil
		},
		Tombstone: func(op Operation, progress Progress) error {
			c.Ops = append(c.Ops, text(op, progress))
			return nil
		},
	})
	if err != nil {
		return c, err
	}
	c.Head = s.Head()
	for tab, rows := range map[Table]map[uint64]row{Live: c.Live, Dead: c.Dead} {
		for seq, r := range rows {
			body, err := readWhole(s, tab, seq)
			if err != nil {
				return c, err
			}
			r.Body = body
			rows[seq] = r
		}
	}
	return c, nil
}

// text is an operation without its fields that are zero.
func text(op Operation, progress Progress) string {
	out := fmt.Sprintf("%x progress %d", op.ID, progress)
	v := reflect.ValueOf(op)
	for i := 1; i < v.NumField(); i++ {
		switch f := v.Field(i); {
		case f.IsZero():
		case f.Kind() == reflect.Slice:
			out += fmt.Sprintf(" %s %s", v.Type().Field(i).Name, f.Bytes())
		case f.Kind() == reflect.Array:
			out += fmt.Sprintf(" %s %x", v.Type().Field(i).Name, f.Interface())
		default:
			out += fmt.Sprintf(" %s %v", v.Type().Field(i).Name, f.Interface())
		}
	}
	return out
}

func readWhole(s *Store, tab Table, seq uint64) (text string, err error) {
	err = s.View(func(v *View) error {
		raw, err := v.Body(tab, seq)
		if err != nil {
			return err
		}
		var b Body
		if err := DecodeBody(raw, &b); err != nil {
			return &CorruptError{Bucket: "body", Err: err}
		}
		text = string(b.Payload)
		return nil
	})
	return text, err
}

// fataler is a test of the standard library, or one of rapid.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// restarted returns a store over the same file that has learnt nothing yet.
func restarted(t fataler, s *Store) *Store {
	t.Helper()
	again := &Store{db: s.db, file: s.file, opts: s.opts, pageSize: s.pageSize, folded: map[[16]byte][]byte{}}
	for tab := range tables {
		again.segments[tab] = map[uint64]*segment{}
	}
	if err := again.readMeta(); err != nil {
		t.Fatalf("reading meta: %v", err)
	}
	return again
}

func mustLoad(t fataler, s *Store) content {
	t.Helper()
	c, err := load(s)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

// commit runs fn in a transaction.
func commit(s *Store, fn func(*Tx) error) error {
	return commitBound(s, Bound{Rows: 1000, Bytes: 1 << 16, Essential: true}, fn)
}

func commitBound(s *Store, bound Bound, fn func(*Tx) error) error {
	tx, err := s.Begin(bound)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	before, err := s.size()
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	if after, err := s.size(); err != nil || after != before {
		return fmt.Errorf("the file grew within a commit, from %d to %d bytes (%w)", before, after, err)
	}
	return nil
}

func mustCommit(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := commit(s, fn); err != nil {
		t.Fatal(err)
	}
}

// put stores n messages from the head on, and moves it.
func put(tx *Tx, n int, body string) error {
	h := tx.s.Head()
	for range n {
		if err := putRow(tx, Live, h.NextSeq, body); err != nil {
			return err
		}
		h.NextSeq++
	}
	return tx.SetHead(h)
}

func putRow(tx *Tx, tab Table, seq uint64, body string) error {
	record := AppendRecord(nil, &Record{Wall: int64(seq), Due: 5, Method: []byte("POST"), URL: fmt.Appendf(nil, "http://host/%d", seq)})
	SealRecord(record, seq, [16]byte{1, byte(seq)})
	return tx.Put(tab, seq, record, AppendBody(nil, &Body{Payload: []byte(body)}))
}

// sweepNext takes the next step of the sweep, if there is one.
func sweepNext(tx *Tx) (r SweepResult, err error) {
	if step, ok := tx.s.NextSweep(); ok {
		r, err = tx.Sweep(step)
	}
	return r, err
}

func sweep(tx *Tx) error { _, err := sweepNext(tx); return err }

// copyFile is what a crash of the process leaves: the file without its close.
func copyFile(t testing.TB, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func keys(m map[uint64]row) []uint64 { return slices.Sorted(maps.Keys(m)) }
