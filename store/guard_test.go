package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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
	if _, err := Open(file, quick); !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "3") {
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
