package main

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"runtime"
	"sync"
	"time"
)

// wal is the least that a durable publish can be: one goroutine that writes whatever is
// queued and syncs once for all of it. It keeps no index; it is a limit, not a queue. With
// company it lets goroutines run that are ready to, before it begins with a group, as
// Recall does: more of those that were just acknowledged are in it then.
type wal struct {
	to      groupStore
	company bool
	queue   chan *walRequest
	pool    sync.Pool
	done    chan struct{}
}

// groupStore makes groups durable.
type groupStore interface {
	write(group []*walRequest) error
	close() error
}

type walRequest struct {
	parts [][]byte
	ack   chan error // room for one: the committer never waits
}

// What a log does before it begins with a group.
const (
	draining  = false // it takes what is queued
	lingering = true  // it lets those join who are about to write
)

// walRow stands for what Recall writes of a message beside its body.
var walRow = make([]byte, 110)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openWAL opens a log in an append-only file, which cannot be read back by key.
func openWAL(path string, company bool) (*wal, error) { return openLog(path, company, walRow) }

// openLog does that for records which have some row beside their bodies.
func openLog(path string, company bool, row []byte) (*wal, error) {
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return newWAL(&appendedFile{file: file, row: row}, company), nil
}

func newWAL(to groupStore, company bool) *wal {
	const room = 4096
	w := &wal{to: to, company: company, queue: make(chan *walRequest, room), done: make(chan struct{})}
	w.pool.New = func() any { return &walRequest{ack: make(chan error, 1)} }
	go w.commit()
	return w
}

func (w *wal) close() error {
	close(w.queue)
	<-w.done
	return w.to.close()
}

// append returns when the record, or all records of a batch, are on disk.
func (w *wal) append(records ...[]byte) error {
	r := w.pool.Get().(*walRequest)
	r.parts = append(r.parts[:0], records...)
	w.queue <- r
	err := <-r.ack
	w.pool.Put(r)
	return err
}

func (w *wal) commit() {
	defer close(w.done)
	var group []*walRequest
	for first := range w.queue {
		group = append(group[:0], first)
		for w.more() {
			group = append(group, <-w.queue)
		}
		err := w.to.write(group)
		for _, r := range group {
			r.ack <- err
		}
	}
}

func (w *wal) more() bool {
	if w.company && len(w.queue) == 0 {
		runtime.Gosched()
	}
	return len(w.queue) > 0
}

// appendedFile is a file that is only appended to, and synced once for a group.
type appendedFile struct {
	file *os.File
	row  []byte // of each record, beside its body
	buf  []byte
}

func (f *appendedFile) write(group []*walRequest) error {
	f.buf = f.buf[:0]
	for _, r := range group {
		for _, p := range r.parts {
			f.buf = appendRecord(f.buf, f.row, p)
		}
	}
	if _, err := f.file.Write(f.buf); err != nil {
		return err
	}
	return syncData(f.file)
}

func (f *appendedFile) close() error { return errors.Join(f.file.Close(), os.Remove(f.file.Name())) }

// appendRecord frames a record with its length and checksum.
func appendRecord(buf, row, body []byte) []byte {
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(row)+len(body)))
	at := len(buf)
	buf = append(buf, 0, 0, 0, 0)
	buf = append(append(buf, row...), body...)
	binary.LittleEndian.PutUint32(buf[at:], crc32.Checksum(buf[at+4:], castagnoli))
	return buf
}

// walRate returns records per second, in batches of that size.
func walRate(path string, company bool, writers, batch int, window time.Duration, lat *latencies) (float64, error) {
	w, err := openWAL(path, company)
	if err != nil {
		return 0, err
	}
	return w.rate(writers, batch, bodyOf, window, lat)
}

// rate measures a log with some bodies and closes it.
func (w *wal) rate(writers, batch int, bodyOf func(n int) []byte, window time.Duration, lat *latencies) (rate float64, err error) {
	defer func() { err = errors.Join(err, w.close()) }()
	rate, err = parallel(writers, window, lat, func(n int) error {
		if batch == 1 {
			return w.append(bodyOf(n))
		}
		records := make([][]byte, batch)
		for i := range records {
			records[i] = bodyOf(n*batch + i)
		}
		return w.append(records...)
	})
	return rate * float64(batch), err
}
