package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

func TestFilesThatAreNotOurs(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	other := filepath.Join(dir, "other.db")
	newBolt(t, other, func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("theirs"))
		return err
	})
	empty := filepath.Join(dir, "empty.db")
	newBolt(t, empty, func(tx *bolt.Tx) error { return nil })
	for name, file := range map[string]string{
		"short text":        write("short", []byte("hello")),
		"long text":         write("long", bytes.Repeat([]byte("hello "), 10_000)),
		"zeros":             write("zeros", make([]byte, 1<<16)),
		"another's bbolt":   other,
		"an emptied bbolt":  empty,
		"a folder":          dir,
		"the start of ours": write("part", golden(t)[:10]),
	} {
		t.Run(name, func(t *testing.T) {
			before, _ := os.ReadFile(file)
			if _, err := Open(file, quick); !errors.Is(err, ErrForeign) {
				t.Errorf("got %v, want ErrForeign", err)
			}
			if after, _ := os.ReadFile(file); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
		})
	}
}

// newBolt makes a bbolt file, with one commit if there is something to do.
func newBolt(t *testing.T, file string, do func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(file, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if do != nil {
		err = db.Update(do)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestKilledCreation opens what a process leaves that dies while it creates a
// file: as bbolt begins it, with room added, and with all of the first commit
// but the page that makes it valid.
func TestKilledCreation(t *testing.T) {
	file := path(t)
	newBolt(t, file, nil)
	begun := read(t, file)
	open(t, file, quick)
	metas, first := 2*os.Getpagesize(), read(t, file)
	for name, data := range map[string][]byte{
		"begun":         begun,
		"with room":     append(bytes.Clone(begun), make([]byte, len(begun))...),
		"not committed": append(bytes.Clone(begun[:metas]), first[metas:]...),
	} {
		t.Run(name, func(t *testing.T) {
			file := path(t)
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			s := open(t, file, quick)
			mustCommit(t, s, func(tx *Tx) error { return put(tx, 1, "x") })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if got := mustLoad(t, open(t, file, quick)); len(got.Live) != 1 {
				t.Errorf("got %d messages, want 1", len(got.Live))
			}
		})
	}
	for size := 1; size < len(begun); size += 317 {
		if !damaged(t, fmt.Sprintf("the first %d bytes", size), begun[:size], content{}) {
			t.Errorf("the first %d bytes are a file", size)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestEmptyFileIsCreated(t *testing.T) {
	file := path(t)
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 1, "x") })
}

func TestReadOnlyFile(t *testing.T) {
	file := path(t)
	if err := os.WriteFile(file, golden(t), 0o400); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, quick); !errors.Is(err, ErrReadOnly) {
		t.Errorf("got %v, want ErrReadOnly", err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	if err := openError(&os.PathError{Op: "open", Path: "q.db", Err: syscall.EROFS}); !errors.Is(err, ErrReadOnly) {
		t.Errorf("got %v, want ErrReadOnly", err)
	}
}

func TestFileInUse(t *testing.T) {
	file := path(t)
	open(t, file, quick)
	begun := time.Now()
	if _, err := Open(file, quick); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

// TestFileInUseIsNotRead is about a large file: whether it is free must not
// take as long as reading it.
func TestFileInUseIsNotRead(t *testing.T) {
	const size = 64 << 20
	file := path(t)
	open(t, file, quick)
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	before := bytesRead(t)
	if _, err := Open(file, quick); !errors.Is(err, ErrInUse) {
		t.Errorf("got %v, want ErrInUse", err)
	}
	if n := bytesRead(t) - before; n > size/2 {
		t.Errorf("%d bytes were read", n)
	}
}

// bytesRead is how much this process has read in its life.
func bytesRead(t *testing.T) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("the system does not tell what was read")
	}
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNewerVersionIsRefused(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error {
		return tx.tx.Bucket(bucketMeta).Put(keyFormat, appendSum([]byte{FormatVersion + 1}, 0, 0))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, quick); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), strconv.Itoa(FormatVersion+1)) {
		t.Errorf("got %v, want ErrVersion that names the version", err)
	}
}

// A row that is damaged is named with its bucket and key.
func TestDamagedRowIsNamed(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error { return put(tx, 3, "x") })
	mustCommit(t, s, func(tx *Tx) error {
		b, err := tx.segmentBucket(tableNames[Live].record, 2)
		if err != nil {
			return err
		}
		key := offsetKey(2)
		bad := bytes.Clone(b.Get(key[:]))
		bad[20] ^= 1
		return b.Put(key[:], bad)
	})
	_, err := load(s)
	var damage *CorruptError
	if !errors.As(err, &damage) || damage.Bucket != "record" || damage.Key != "0000000000000002" {
		t.Errorf("got %v", err)
	}
}

// damaged opens a file that may be damaged and reads all of it: the content
// must be the same, or the file refused by a reason of ours, unchanged.
func damaged(t *testing.T, name string, data []byte, want content) (refused bool) {
	t.Helper()
	file := path(t)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(file, quick)
	if err == nil {
		var got content
		got, err = load(s)
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: silently other content: %+v", name, got)
		}
		_ = s.db.Close()
		if err == nil {
			return false
		}
	} else if after, _ := os.ReadFile(file); !bytes.Equal(after, data) {
		t.Errorf("%s: the refused file was changed", name)
	}
	if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) {
		t.Errorf("%s: refused with %v", name, err)
	}
	return true
}

// clean and crashed images of one content.
func images(t *testing.T) (clean, crashed []byte, want content) {
	t.Helper()
	file := path(t)
	if err := os.WriteFile(file, golden(t), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, file, quick)
	mustCommit(t, s, func(tx *Tx) error { return tx.SetHead(tx.head) })
	crashed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want = mustLoad(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if clean, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	return inUse(t, clean), inUse(t, crashed), want
}

// inUse cuts off the room that no page is in yet.
func inUse(t *testing.T, data []byte) []byte {
	t.Helper()
	l, err := readLayout(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return data[:int64(l.high)*l.pageSize]
}

func TestTruncatedFile(t *testing.T) {
	clean, crashed, want := images(t)
	for name, data := range map[string][]byte{"clean": clean, "crashed": crashed} {
		refused := 0
		for at := 1; at < len(data); at += 509 {
			if damaged(t, fmt.Sprintf("%s, %d bytes", name, at), data[:at], want) {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("%s: no truncated file was refused", name)
		}
		if damaged(t, name, data, want) {
			t.Errorf("%s: the whole file is refused", name)
		}
	}
}

// TestFlippedBits flips bits all over a file. A soak flips one of every byte.
func TestFlippedBits(t *testing.T) {
	clean, crashed, want := images(t)
	for name, data := range map[string][]byte{"clean": clean, "crashed": crashed} {
		refused, step := 0, 11 // odd, so that every bit of a byte has its turn
		if soak() {
			step = 1
		}
		for at := 0; at < len(data); at += step {
			// Pages are mostly empty, and what is empty is not read.
			if near := data[max(0, at-8):min(len(data), at+8)]; bytes.Count(near, []byte{0}) == len(near) {
				continue
			}
			bad := bytes.Clone(data)
			bad[at] ^= 1 << (at % 8)
			if damaged(t, fmt.Sprintf("%s, bit %d of byte %d", name, at%8, at), bad, want) {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("%s: no flipped bit was noticed", name)
		}
	}
}

// TestDamagedLargeFile flips bits of a file that would not stay in memory.
// After an unclean end bbolt goes through all of it by itself, and its panic
// would end the process.
func TestDamagedLargeFile(t *testing.T) {
	defer func(was int64) { largeFile = was }(largeFile)
	largeFile = 1
	clean, crashed, want := images(t)
	if damaged(t, "clean", clean, want) || damaged(t, "crashed", crashed, want) {
		t.Error("a whole file is refused")
	}
	for at := 0; at < len(crashed); at += 7 {
		if crashed[at] != 0 {
			bad := bytes.Clone(crashed)
			bad[at] ^= 1 << (at % 8)
			damaged(t, fmt.Sprintf("byte %d", at), bad, want)
		}
	}
}

// zeroPages overwrites the header of every page but the first two of a file that
// is open.
func zeroPages(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	for at := int64(2 * os.Getpagesize()); err == nil && at < info.Size(); at += int64(os.Getpagesize()) {
		_, err = f.WriteAt(make([]byte, pageHeader), at)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func cutPages(t *testing.T, file string) {
	t.Helper()
	if err := os.Truncate(file, int64(2*os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
}

// TestDamageWhileOpen damages a file under a transaction, and before the close:
// bbolt's panics and faults are errors, nothing is committed, and the file is
// let go.
func TestDamageWhileOpen(t *testing.T) {
	type at int
	const (
		inside at = iota // the transaction
		before           // its commit
	)
	steps := map[string]func(*Tx) error{
		"put":            func(tx *Tx) error { return put(tx, 1, "x") },
		"get":            func(tx *Tx) error { _, _, err := tx.Get(Live, 1); return err },
		"head":           func(tx *Tx) error { return tx.SetHead(tx.head) },
		"finish":         func(tx *Tx) error { return tx.Finish(Live, []uint64{1}) },
		"retry":          func(tx *Tx) error { return tx.Retry([]Retry{{Seq: 1}}) },
		"hold":           func(tx *Tx) error { return tx.Hold([]uint64{1}, true) },
		"cancel":         func(tx *Tx) error { return tx.Tombstone(Operation{ID: id(1)}, 0, []uint64{1}, nil) },
		"restore":        func(tx *Tx) error { _, _, err := tx.Restore(id(9), 1, 0); return err },
		"taken":          func(tx *Tx) error { return tx.Taken(id(8), []uint64{2}) },
		"operation":      func(tx *Tx) error { return tx.PutOperation(Operation{ID: id(1)}) },
		"drop":           func(tx *Tx) error { _, err := tx.DropOperation(id(8)); return err },
		"fold finished":  func(tx *Tx) error { _, _, err := tx.FoldFinished(9); return err },
		"fold tombstone": func(tx *Tx) error { _, _, err := tx.FoldTombstone(id(9), 9); return err },
		"fold state":     func(tx *Tx) error { _, err := tx.FoldState(9); return err },
		"sweep":          func(tx *Tx) error { _, err := tx.Sweep(SweepStep{}); return err },
		"bucket":         func(tx *Tx) error { _, err := tx.App("mine"); return err },
	}
	for name, step := range steps {
		for damageName, damage := range map[string]func(*testing.T, string){"zeros": zeroPages, "cut": cutPages} {
			for _, when := range []at{inside, before} {
				s, file := damageable(t)
				tx, err := s.Begin(Bound{Rows: 10, Bytes: 1000})
				if err != nil {
					t.Fatal(err)
				}
				if when == before {
					if err := step(tx); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
				}
				damage(t, file)
				if err = step(tx); when == before {
					err = errors.Join(tx.SetHead(tx.head), tx.Commit())
				}
				tx.Rollback()
				if !errors.Is(err, ErrFailed) || !errors.Is(err, ErrCorrupt) {
					t.Errorf("%s, %s, %d: got %v", name, damageName, when, err)
				}
				wantLost(t, s, file)
			}
		}
	}
}

// damageable returns a store over a file with something of everything.
func damageable(t *testing.T) (s *Store, file string) {
	t.Helper()
	file = path(t)
	s, err := Open(file, quick)
	if err != nil {
		t.Fatal(err)
	}
	mustCommit(t, s, func(tx *Tx) error {
		b, err := tx.App("mine")
		return errors.Join(err, put(tx, 3, "x"), b.Put([]byte("k"), []byte("v")), tx.PutOperation(Operation{ID: id(8)}),
			tx.Tombstone(Operation{ID: id(9)}, 0, []uint64{3}, nil), tx.Finish(Live, []uint64{2}))
	})
	return s, file
}

// wantLost makes sure that a failed store writes no more, and lets go of its
// file.
func wantLost(t *testing.T, s *Store, file string) {
	t.Helper()
	if tx, err := s.Begin(Bound{}); !errors.Is(err, ErrFailed) {
		tx.Rollback()
		t.Errorf("Begin: got %v, want ErrFailed", err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: got %v, want ErrFailed", err)
	}
	if _, err := Open(file, quick); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: got %v, want ErrCorrupt", err)
	}
}

// TestDamageUnderABucket meets damage where there is no error to return: nothing
// is found, and nothing committed. A panic of the caller is the caller's.
func TestDamageUnderABucket(t *testing.T) {
	for name, read := range map[string]func(b Bucket){
		"Get": func(b Bucket) {
			if v := b.Get([]byte("k")); v != nil {
				t.Errorf("Get: got %q", v)
			}
		},
		"All": func(b Bucket) {
			for k := range b.All(nil) {
				t.Errorf("All: got %q", k)
			}
		},
	} {
		s, file := damageable(t)
		mustCommit(t, s, func(tx *Tx) error { // a bucket of its own pages
			b, err := tx.App("mine")
			for i := 0; i < 100 && err == nil; i++ {
				err = b.Put([]byte{'z', byte(i)}, make([]byte, 500))
			}
			return err
		})
		tx, err := s.Begin(Bound{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := tx.App("mine")
		if err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if p := recover(); p != "mine" {
					t.Errorf("%s: the caller's panic came out as %v", name, p)
				}
			}()
			for range b.All(nil) {
				panic("mine")
			}
		}()
		if s.Err() != nil {
			t.Errorf("%s: the caller's panic failed the store: %v", name, s.Err())
		}
		zeroPages(t, file)
		read(b)
		if err := tx.Commit(); !errors.Is(err, ErrFailed) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Commit: got %v", name, err)
		}
		tx.Rollback()
		wantLost(t, s, file)
	}
}

// TestDamageBeforeClose: the last commit fails, and the file is let go.
func TestDamageBeforeClose(t *testing.T) {
	s, file := damageable(t)
	zeroPages(t, file)
	if err := s.Close(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Close: got %v, want ErrCorrupt", err)
	}
	if _, err := Open(file, quick); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open: got %v, want ErrCorrupt", err)
	}
}

// TestCloseOfWhatIsStuck: bbolt has panicked and kept its lock of the writer.
func TestCloseOfWhatIsStuck(t *testing.T) {
	s, file := damageable(t)
	if _, err := s.db.Begin(true); err != nil {
		t.Fatal(err)
	}
	_ = s.fail(errInjected)
	s.stuck.Store(true)
	if err := s.View(func(*View) error { return nil }); !errors.Is(err, ErrFailed) {
		t.Errorf("View: got %v, want ErrFailed", err)
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: got %v, want ErrFailed", err)
	}
	mustLoad(t, open(t, file, quick))
}

// TestBothMetaPagesDamaged: not even a transaction begins, and nobody waits.
func TestBothMetaPagesDamaged(t *testing.T) {
	s, file := damageable(t)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 2*os.Getpagesize()), 0); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Begin(Bound{}); !errors.Is(err, ErrFailed) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("Begin: got %v", err)
		}
		if err := s.View(func(*View) error { return nil }); !errors.Is(err, ErrCorrupt) {
			t.Errorf("View: got %v", err)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: got %v", err)
	}
}
