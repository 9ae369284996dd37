package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
	"os"
)

// bbolt follows page numbers as it finds them: a damaged one can send it round
// in a circle for ever, or to a page that it gives out as free. So the tree is
// checked here first, from the file and without a map: every page that can be
// reached is one of the file, of the right kind, reached once, and its elements
// lie one after the other, as bbolt writes them, with ascending keys; and no
// page that the file calls free is among them. What a search would pass over
// in silence, such as a key out of order, is found too.

// bbolt's pages: a header of 16 bytes, then elements of 16 bytes.
const (
	pageHeader  = 16
	elementSize = 16

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10

	elementBucket = 0x01
	noFreelist    = ^uint64(0)
)

// layout is the newer valid meta page of a file.
type layout struct {
	pageSize             int64
	root, freelist, high uint64
	txid                 uint64
}

// readLayout reads both meta pages. A page of another size than the system's
// is found by its number in the first one.
func readLayout(f io.ReaderAt) (best layout, err error) {
	sizes := []int64{int64(os.Getpagesize())}
	if first, ok := readMetaPage(f, 0); ok {
		best, sizes = first, []int64{first.pageSize}
	}
	for _, size := range sizes {
		if second, ok := readMetaPage(f, size); ok && second.txid >= best.txid {
			best = second
		}
	}
	if best.pageSize == 0 {
		return best, errors.New("both meta pages are damaged")
	}
	return best, nil
}

// bothMetas tells whether both meta pages are valid.
func bothMetas(f io.ReaderAt, pageSize int64) bool {
	_, first := readMetaPage(f, 0)
	_, second := readMetaPage(f, pageSize)
	return first && second
}

func readMetaPage(f io.ReaderAt, at int64) (l layout, ok bool) {
	page := make([]byte, 80)
	if _, err := f.ReadAt(page, at); err != nil {
		return l, false
	}
	meta := page[pageHeader:]
	sum := fnv.New64a()
	_, _ = sum.Write(meta[:56])
	order := binary.NativeEndian
	l = layout{
		pageSize: int64(order.Uint32(meta[8:])), root: order.Uint64(meta[16:]), freelist: order.Uint64(meta[32:]),
		high: order.Uint64(meta[40:]), txid: order.Uint64(meta[48:]),
	}
	ok = order.Uint32(meta) == magic && order.Uint64(meta[56:]) == sum.Sum64() &&
		l.pageSize >= 1024 && l.pageSize <= 1<<16 && l.pageSize&(l.pageSize-1) == 0
	return l, ok
}

// structure is one check of a file.
type structure struct {
	file io.ReaderAt
	layout
	seen []uint64 // bits of pages that were reached
	todo []span   // pages to look at
	buf  []byte   // of pages that others overflow into
	near window

	free    int64                   // pages that are listed as free
	note    func(error)             // if it is not nil, it is told what is wrong, and the check goes on
	reading func(bytes int64) error // if it is not nil, it is told what was looked at, and may end the check
	ended   error                   // by reading
}

// span is a page and the range of its keys, the end excluded; an empty to is
// no end.
type span struct {
	page     uint64
	from, to string
}

// checkStructure returns what is wrong with the tree of pages, as a *CorruptError,
// or the error of reading, which may be nil.
func checkStructure(f io.ReaderAt, size int64, reading func(bytes int64) error) error {
	s := &structure{file: f, reading: reading}
	if err := s.check(size); err != nil && s.ended == nil {
		return &CorruptError{Err: err}
	}
	return s.ended
}

// check returns the first fault, or with note the end of it that was asked for.
func (s *structure) check(size int64) error {
	l, err := readLayout(s.file)
	if err != nil {
		return s.fault(err)
	}
	if l.high > 1<<40 || int64(l.high)*l.pageSize > size {
		return s.fault(fmt.Errorf("%d bytes are missing at the end", int64(l.high)*l.pageSize-size))
	}
	s.layout, s.seen = l, make([]uint64, l.high/64+1)
	if err := s.visit(span{page: l.root}); err != nil {
		return s.fault(err)
	}
	for len(s.todo) > 0 {
		next := s.todo[len(s.todo)-1]
		s.todo = s.todo[:len(s.todo)-1]
		if err := s.look(next); err != nil {
			if err = s.fault(fmt.Errorf("page %d: %w", next.page, err)); err != nil {
				return err
			}
		}
		if s.reading != nil {
			if s.ended = s.reading(l.pageSize); s.ended != nil {
				return s.ended
			}
		}
	}
	if err := s.checkFree(); err != nil {
		return s.fault(err)
	}
	return nil
}

// fault returns what is wrong, unless it is noted.
func (s *structure) fault(err error) error {
	if s.note == nil {
		return err
	}
	s.note(err)
	return nil
}

// unmarked counts the pages that are neither reached nor listed as free.
func (s *structure) unmarked() (n int64) {
	marked := 0
	for _, word := range s.seen {
		marked += bits.OnesCount64(word)
	}
	return int64(s.high) - 2 - int64(marked)
}

// visit notes that a page is referred to: only once, and within the file.
func (s *structure) visit(next span) error {
	if next.page < 2 || next.page >= s.high {
		return fmt.Errorf("page %d does not exist", next.page)
	}
	if err := s.mark(next.page); err != nil {
		return err
	}
	s.todo = append(s.todo, next)
	return nil
}

func (s *structure) mark(page uint64) error {
	if s.seen[page/64]&(1<<(page%64)) != 0 {
		return fmt.Errorf("page %d is used twice", page)
	}
	s.seen[page/64] |= 1 << (page % 64)
	return nil
}

// read returns a page with what overflows it, and marks the overflow as used.
func (s *structure) read(page uint64) (data []byte, flags uint16, count int, err error) {
	if data, err = s.readPages(page, 1); err != nil {
		return nil, 0, 0, err
	}
	order := binary.NativeEndian
	id, overflow := order.Uint64(data), uint64(order.Uint32(data[12:]))
	if id != page {
		return nil, 0, 0, fmt.Errorf("it calls itself %d", id)
	}
	if page+overflow >= s.high {
		return nil, 0, 0, fmt.Errorf("it claims %d pages more", overflow)
	}
	for i := range overflow {
		if err := s.mark(page + 1 + i); err != nil {
			return nil, 0, 0, err
		}
	}
	if overflow > 0 {
		if data, err = s.readPages(page, int64(overflow)+1); err != nil {
			return nil, 0, 0, err
		}
	}
	return data, order.Uint16(data[8:]), int(order.Uint16(data[10:])), nil
}

// readPages returns pages, until it is called again.
func (s *structure) readPages(page uint64, n int64) ([]byte, error) {
	if n == 1 {
		return s.near.read(s.file, int64(page)*s.pageSize, int(s.pageSize))
	}
	if need := int(n * s.pageSize); cap(s.buf) < need {
		s.buf = make([]byte, need)
	}
	data := s.buf[:n*s.pageSize]
	_, err := s.file.ReadAt(data, int64(page)*s.pageSize)
	return data, err
}

func (s *structure) look(at span) error {
	data, flags, count, err := s.read(at.page)
	if err != nil {
		return err
	}
	switch flags {
	case flagBranch:
		return s.branch(data, count, at)
	case flagLeaf:
		return s.leaf(data, count, at, true)
	}
	return fmt.Errorf("it is of kind %#x", flags)
}

func (s *structure) branch(data []byte, count int, at span) error {
	if count == 0 {
		return errors.New("it has no elements")
	}
	in := elements{data: data, next: uint64(pageHeader + count*elementSize), span: at}
	var children []span
	for i := range count {
		e := pageHeader + i*elementSize
		if e+elementSize > len(data) {
			return errors.New("its elements do not fit")
		}
		order := binary.NativeEndian
		key, _, err := in.element(e, order.Uint32(data[e:]), order.Uint32(data[e+4:]), 0)
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		first := string(key)
		if i > 0 {
			children[i-1].to = first
		}
		children = append(children, span{page: order.Uint64(data[e+8:]), from: first, to: at.to})
	}
	for _, child := range children {
		if err := s.visit(child); err != nil {
			return err
		}
	}
	return nil
}

// leaf checks the elements of a leaf, and of buckets small enough to be kept
// in one; these have no buckets of their own.
func (s *structure) leaf(data []byte, count int, at span, buckets bool) error {
	if count == 0 && len(bytes.TrimLeft(data[pageHeader:], "\x00")) > 0 {
		return errors.New("its elements are not counted")
	}
	in := elements{data: data, next: uint64(pageHeader + count*elementSize), span: at}
	for i := range count {
		e := pageHeader + i*elementSize
		if e+elementSize > len(data) {
			return errors.New("its elements do not fit")
		}
		order := binary.NativeEndian
		_, value, err := in.element(e, order.Uint32(data[e+4:]), order.Uint32(data[e+8:]), order.Uint32(data[e+12:]))
		if err == nil {
			switch flags := order.Uint32(data[e:]); {
			case flags == elementBucket && buckets:
				err = s.bucket(value)
			case flags != 0:
				err = fmt.Errorf("it is of kind %#x", flags)
			}
		}
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return nil
}

// elements takes the elements of one page apart, in order.
type elements struct {
	data []byte
	next uint64 // where the key of the next element begins
	last []byte // key before it
	span
}

// element returns key and value of the element whose header is at an offset.
func (in *elements) element(at int, pos, keySize, valueSize uint32) (key, value []byte, err error) {
	from := uint64(at) + uint64(pos)
	middle := from + uint64(keySize)
	end := middle + uint64(valueSize)
	if from != in.next || end > uint64(len(in.data)) {
		return nil, nil, errors.New("it is out of place")
	}
	key, value = in.data[from:middle], in.data[middle:end]
	if in.last != nil && bytes.Compare(key, in.last) <= 0 || string(key) < in.from || in.to != "" && string(key) >= in.to {
		return nil, nil, errors.New("its key is out of order")
	}
	in.next, in.last = end, key
	return key, value, nil
}

// bucket follows a nested bucket to its root, which is a page, or stands
// behind the header.
func (s *structure) bucket(value []byte) error {
	const header = 16
	if len(value) < header {
		return errShort
	}
	inline := value[header:]
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		if len(inline) > 0 {
			return errors.New("its bucket is in two places")
		}
		return s.visit(span{page: root})
	}
	if len(inline) < pageHeader || binary.NativeEndian.Uint16(inline[8:]) != flagLeaf {
		return errors.New("its bucket is damaged")
	}
	return s.leaf(inline, int(binary.NativeEndian.Uint16(inline[10:])), span{}, false)
}

// checkFree makes sure that no free page is in use, if the file lists them.
func (s *structure) checkFree() error {
	if s.freelist == noFreelist {
		return nil
	}
	if s.freelist < 2 || s.freelist >= s.high {
		return fmt.Errorf("page %d, the list of free pages, does not exist", s.freelist)
	}
	if err := s.mark(s.freelist); err != nil {
		return err
	}
	data, flags, count, err := s.read(s.freelist)
	if err != nil || flags != flagFreelist {
		return fmt.Errorf("page %d is no list of free pages: %w", s.freelist, errors.Join(err, errShort))
	}
	ids := data[pageHeader:]
	if count == 0xFFFF { // the count did not fit: it is the first element
		count, ids = int(min(binary.NativeEndian.Uint64(ids), 1<<40)), ids[8:]
	}
	if count > len(ids)/8 {
		return errors.New("the list of free pages is cut short")
	}
	last := uint64(1)
	for i := range count {
		id := binary.NativeEndian.Uint64(ids[i*8:])
		if id <= last || id >= s.high {
			return fmt.Errorf("page %d is listed as free", id)
		}
		if err := s.mark(id); err != nil {
			return fmt.Errorf("listed as free: %w", err)
		}
		s.free++
		last = id
	}
	return nil
}
