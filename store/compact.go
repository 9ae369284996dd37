package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// CompactOptions are seams for tests.
type CompactOptions struct {
	// Step, if it is not nil, is called before each step by its name. An error
	// ends the call there.
	Step func(step string) error
}

// Compacted says what Compact has done.
type Compacted struct {
	Before, After int64 // bytes of the file
	Dropped       int   // rows of messages that were gone
}

// compactSuffix is that of the copy under way. One that is there before is what a
// crash has left: whoever makes it holds the lock of the file.
const compactSuffix = ".compacting"

// Compact puts a copy without free pages and without what is gone in the place of
// the file at path. It returns the errors of Open; then the file is as it was. The
// copy has the file's permissions and owner, is on stable storage, and was read back
// and compared before it takes its place, by a rename: a crash leaves the file as it
// was, or the copy, and perhaps an unfinished copy beside it, which the next call
// removes. progress may be nil.
func Compact(ctx context.Context, path string, o CompactOptions, progress func(done, total int64)) (r Compacted, err error) {
	path, err = filepath.EvalSymlinks(path) // it is the file that is replaced, not a link to it
	if err != nil {
		return r, err
	}
	size, err := regular(path)
	if err != nil {
		return r, err
	}
	if size == 0 {
		return r, fmt.Errorf("%w: there is nothing in it", ErrForeign)
	}
	c := &compaction{source: newStore(path, nil), path: path, o: o, meter: newMeter(ctx, progress, compactPasses*size), result: Compacted{Before: size}}
	if fresh, err := c.inspect(); err != nil || fresh {
		return Compacted{Before: size, After: size}, err
	}
	if err := c.source.open(path); err != nil {
		return r, err
	}
	defer c.letGo()
	if err := guarded(c.run); err != nil {
		return Compacted{}, err
	}
	c.meter.finish()
	return c.result, nil
}

// compaction is one Compact. It holds the lock of the file until the end.
type compaction struct {
	source *Store
	path   string
	o      CompactOptions
	meter  *meter
	result Compacted
	closed bool
}

// compactPasses is how often the bytes of the file are read or written: two readings
// before it is opened, one for its digest, the copy, and three readings of that.
const compactPasses = 7

// inspect looks at the file before it is opened.
func (c *compaction) inspect() (fresh bool, err error) {
	if err := c.meter.stage(2 * c.result.Before); err != nil {
		return false, err
	}
	c.source.told = c.meter.add
	if fresh, err = c.source.inspect(c.path); fresh {
		c.meter.finish()
	}
	return fresh, err
}

// letGo closes the file without a commit.
func (c *compaction) letGo() {
	if !c.closed {
		c.closed = true
		_ = c.source.db.Close()
	}
}

func (c *compaction) run() error {
	target := c.path + compactSuffix
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := c.make(target)
	if err == nil {
		err = c.replace(target)
	}
	if err != nil {
		_ = os.Remove(target) // unless it has taken its place
	}
	return err
}

func (c *compaction) step(name string) error {
	if err := c.meter.ctx.Err(); err != nil {
		return err
	}
	if c.o.Step == nil {
		return nil
	}
	return c.o.Step(name)
}

// make makes the copy, and compares it.
func (c *compaction) make(target string) error {
	if err := c.step("create"); err != nil {
		return err
	}
	if err := c.meter.stage(c.result.Before); err != nil {
		return err
	}
	before, err := digestOf(c.source, c.meter)
	if err != nil {
		return err
	}
	if err := c.write(target); err != nil {
		return err
	}
	if err := c.step("compare"); err != nil {
		return err
	}
	after, size, err := digestAt(target, c.meter, c.result.Before)
	if err != nil {
		return fmt.Errorf("the copy: %w", err)
	}
	if before != after {
		return errors.New("the copy is not what it should be; the file was left as it is")
	}
	c.result.After = size
	return nil
}

// write writes the copy to stable storage.
func (c *compaction) write(target string) error {
	info, err := os.Stat(c.path)
	if err != nil {
		return err
	}
	if err := c.meter.stage(c.result.Before); err != nil {
		return err
	}
	db, err := bolt.Open(target, info.Mode().Perm(), &bolt.Options{
		Timeout: defaultLockTimeout, FreelistType: bolt.FreelistMapType, NoSync: true, PageSize: int(c.source.pageSize),
	})
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // the second time it does nothing
	if err := c.copyTo(db); err != nil {
		return err
	}
	if err := c.step("sync"); err != nil {
		return err
	}
	return finishFile(db, target, func(f *os.File) error {
		if err := c.step("permissions"); err != nil {
			return err
		}
		return sameAccess(f, info)
	})
}

// finishFile closes a file that was written without syncs, cuts off what bbolt has
// made it longer by, and puts it on stable storage. What change does to it, if it is
// not nil, is synced with it: nothing of a file may be newer than its last sync when
// it takes the place of another.
func finishFile(db *bolt.DB, path string, change func(*os.File) error) error {
	used := int64(0)
	err := db.View(func(tx *bolt.Tx) error {
		used = tx.Size()
		return nil
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(used)
	if err == nil && change != nil {
		err = change(f)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// sameAccess gives the copy the permissions and the owner of the file. Whoever
// cannot do so would lock others out.
func sameAccess(f *os.File, like fs.FileInfo) error {
	if err := f.Chmod(like.Mode().Perm()); err != nil {
		return err
	}
	return sameOwner(f, like)
}

// replace puts the copy in the place of the file.
func (c *compaction) replace(target string) error {
	if err := c.step("rename"); err != nil {
		return err
	}
	if !renameOpen {
		c.letGo()
	}
	if err := os.Rename(target, c.path); err != nil {
		return err
	}
	if err := c.step("sync folder"); err != nil {
		return err
	}
	return syncDir(filepath.Dir(c.path))
}

// copyTo copies bucket by bucket, in transactions of bounded size.
func (c *compaction) copyTo(db *bolt.DB) error {
	from, err := c.source.begin(false)
	if err != nil {
		return err
	}
	defer rollback(from)
	out := &bulkWriter{db: db, meter: c.meter}
	defer out.rollback()
	err = from.ForEach(func(name []byte, b *bolt.Bucket) error {
		if err := c.step("copy " + string(name)); err != nil {
			return err
		}
		for tab := range tables {
			switch names := &tableNames[tab]; {
			case bytes.Equal(name, names.record), bytes.Equal(name, names.body):
				return c.copySegments(out, from, tab, name, b)
			}
		}
		return out.bucket([][]byte{bytes.Clone(name)}, b, nil)
	})
	if err != nil {
		return err
	}
	return out.commit()
}

// copySegments leaves out the rows whose bits are set: those of messages that are
// gone, which the sweep had not come to. As with a sweep the bitmaps stay: a fold
// that comes later must see that the others are gone already.
func (c *compaction) copySegments(out *bulkWriter, from *bolt.Tx, tab Table, name []byte, b *bolt.Bucket) error {
	if err := out.bucket([][]byte{name}, nil, nil); err != nil {
		return err
	}
	if err := out.sequence([][]byte{name}, b.Sequence()); err != nil {
		return err
	}
	records := bytes.Equal(name, tableNames[tab].record)
	return nestedSegments(from, name, func(n uint64, rows *bolt.Bucket) error {
		dead, err := readBitset(from, tab, n)
		if err != nil {
			return err
		}
		return out.bucket([][]byte{name, seqKey(n)}, rows, func(k []byte) (bool, error) {
			seq, err := seqOf(n, k)
			if err != nil {
				return false, corrupt(string(name), k, err)
			}
			gone := dead.has(seq)
			if gone && records {
				c.result.Dropped++
			}
			return !gone, nil
		})
	})
}
