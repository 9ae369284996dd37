package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
)

// wreck reads a file of which anything may be damaged, without bbolt: it takes what
// it can get, and notes the pages that it cannot read. Nothing in the file can make
// it panic, run in a circle, or ask for more memory than a page group has.
type wreck struct {
	file     io.ReaderAt
	size     int64
	pageSize int64
	pages    uint64 // whole ones in the file
	buf      []byte
}

// wreckTree is a tree of pages, as one commit has left it.
type wreckTree struct {
	*wreck
	root uint64
	seen []uint64        // bits of pages that were reached: none is read twice
	lost map[uint64]bool // pages that it points to and that cannot be read
}

var (
	errPage  = errors.New("the page is damaged")
	errNoEnd = errors.New("the page is not in the file")
)

// newWreck finds out the size of pages.
func newWreck(f io.ReaderAt, size int64) *wreck {
	w := &wreck{file: f, size: size}
	best := -1
	sizes := []int64{int64(os.Getpagesize()), 4096, 8192, 16384, 32768, 65536}
	if l, err := readLayout(f); err == nil {
		sizes = []int64{l.pageSize}
	}
	for _, n := range sizes {
		if good := countPages(f, size, n); good > best {
			best, w.pageSize = good, n
		}
	}
	w.pages = uint64(size / w.pageSize)
	return w
}

// countPages counts the first pages that look like some of that size.
func countPages(f io.ReaderAt, size, pageSize int64) (good int) {
	head := make([]byte, pageHeader)
	for id := int64(0); id < min(size/pageSize, 256); id++ {
		if _, err := f.ReadAt(head, id*pageSize); err == nil && binary.NativeEndian.Uint64(head) == uint64(id) && (id > 0 || head[8] == 4) {
			good++
		}
	}
	return good
}

// page returns a page with what overflows it. The bytes are used again.
func (w *wreck) page(id uint64) (data []byte, flags uint16, count int, err error) {
	const most = 1 << 16 // pages that one may overflow by: 256 MiB
	if id >= w.pages {
		return nil, 0, 0, errNoEnd
	}
	head := make([]byte, pageHeader)
	if _, err := w.file.ReadAt(head, int64(id)*w.pageSize); err != nil {
		return nil, 0, 0, err
	}
	order := binary.NativeEndian
	overflow := uint64(order.Uint32(head[12:]))
	if order.Uint64(head) != id || overflow > most || id+overflow >= w.pages {
		return nil, 0, 0, errPage
	}
	if need := int64(overflow+1) * w.pageSize; int64(len(w.buf)) < need {
		w.buf = make([]byte, need)
	}
	data = w.buf[:int64(overflow+1)*w.pageSize]
	if _, err := w.file.ReadAt(data, int64(id)*w.pageSize); err != nil {
		return nil, 0, 0, err
	}
	return data, order.Uint16(head[8:]), int(order.Uint16(head[10:])), nil
}

// wreckRow is a key with its value, or with the nested bucket in it.
type wreckRow struct {
	key, value []byte
	bucket     bool
}

// leafRows takes the elements of a leaf that lie within it. What is behind one
// that does not is read all the same: each has a header of its own. whole tells
// whether they are all that was written: the count bears no checksum, but the first
// key begins where as many headers end, and each behind the value before it.
func leafRows(data []byte, count int) (rows []wreckRow, whole bool) {
	whole = count > 0 || len(bytes.TrimLeft(data[pageHeader:], "\x00")) == 0
	in := elements{data: data, next: uint64(pageHeader + count*elementSize)}
	for i := range count {
		at := pageHeader + i*elementSize
		if at+elementSize > len(data) {
			return rows, false
		}
		order := binary.NativeEndian
		flags, pos, keySize, valueSize := order.Uint32(data[at:]), order.Uint32(data[at+4:]), order.Uint32(data[at+8:]), order.Uint32(data[at+12:])
		if _, _, err := in.element(at, pos, keySize, valueSize); err != nil {
			whole = false
		}
		from := uint64(at) + uint64(pos)
		middle := from + uint64(keySize)
		end := middle + uint64(valueSize)
		if end > uint64(len(data)) || flags > elementBucket || middle == from {
			whole = false
			continue
		}
		rows = append(rows, wreckRow{slices.Clone(data[from:middle]), slices.Clone(data[middle:end]), flags == elementBucket})
	}
	return rows, whole
}

// branchPages returns where the elements of a branch point, and whether they are all
// that was written.
func branchPages(data []byte, count int) (pages []uint64, whole bool) {
	whole = count > 0
	in := elements{data: data, next: uint64(pageHeader + count*elementSize)}
	for i := range count {
		at := pageHeader + i*elementSize
		if at+elementSize > len(data) {
			return pages, false
		}
		order := binary.NativeEndian
		if _, _, err := in.element(at, order.Uint32(data[at:]), order.Uint32(data[at+4:]), 0); err != nil {
			whole = false
		}
		pages = append(pages, order.Uint64(data[at+8:]))
	}
	return pages, whole
}

func (w *wreck) tree(root uint64) *wreckTree {
	return &wreckTree{wreck: w, root: root, seen: make([]uint64, w.pages/64+1), lost: map[uint64]bool{}}
}

// enter tells whether a page was not reached before.
func (t *wreckTree) enter(page uint64) bool {
	if page < 2 || page >= t.pages || t.seen[page/64]&(1<<(page%64)) != 0 {
		return false
	}
	t.seen[page/64] |= 1 << (page % 64)
	return true
}

func (t *wreckTree) reached(page uint64) bool { return t.seen[page/64]&(1<<(page%64)) != 0 }

// rows visits the rows below a page, in the order of the pages, and tells whether
// all could be read.
func (t *wreckTree) rows(root uint64, visit func(wreckRow) error) (whole bool, err error) {
	whole = true
	todo := []uint64{root}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if !t.enter(id) {
			t.lost[id], whole = true, false
			continue
		}
		data, flags, count, err := t.page(id)
		good := err == nil
		switch {
		case good && flags == flagBranch:
			var children []uint64
			children, good = branchPages(data, count)
			slices.Reverse(children)
			todo = append(todo, children...)
		case good && flags == flagLeaf:
			var rows []wreckRow
			rows, good = leafRows(data, count)
			for _, r := range rows {
				if err := visit(r); err != nil {
					return false, err
				}
			}
		default:
			good = false
		}
		if !good {
			t.lost[id], whole = true, false
		}
	}
	return whole, nil
}

// nested visits the rows of a bucket that is the value of a row.
func (t *wreckTree) nested(value []byte, visit func(wreckRow) error) (whole bool, err error) {
	if len(value) == bucketHeader {
		if root := binary.NativeEndian.Uint64(value); root != 0 {
			return t.rows(root, visit)
		}
	}
	rows, whole := inlineRows(value)
	for _, r := range rows {
		if err := visit(r); err != nil {
			return false, err
		}
	}
	return whole, nil
}

// bucketHeader is the root page and the sequence of a nested bucket.
const bucketHeader = 16

// inlineRows returns the rows of a nested bucket that is small enough to have no
// page of its own. If it is said to have one all the same, the number of that is
// damaged, or the rows are.
func inlineRows(value []byte) (rows []wreckRow, whole bool) {
	if len(value) < bucketHeader+pageHeader {
		return nil, false
	}
	page := value[bucketHeader:]
	if binary.NativeEndian.Uint16(page[8:]) != flagLeaf {
		return nil, false
	}
	rows, whole = leafRows(page, int(binary.NativeEndian.Uint16(page[10:])))
	return rows, whole && binary.NativeEndian.Uint64(value) == 0
}

// sequenceOf is the sequence in the header of a nested bucket.
func sequenceOf(value []byte) uint64 {
	if len(value) < 16 {
		return 0
	}
	if n := binary.NativeEndian.Uint64(value[8:]); n < 1<<48 { // it bears no checksum
		return n
	}
	return 0
}

// wreckRoot is a root page that there may be, and how new it is.
type wreckRoot struct {
	page    uint64
	commits uint64 // that it counts
	head    Head
}

func (r wreckRoot) newer(than wreckRoot) int {
	return -cmp.Or(cmp.Compare(r.commits, than.commits), cmp.Compare(r.head.NextSeq, than.head.NextSeq),
		cmp.Compare(r.head.NextDead, than.head.NextDead))
}

// roots returns the two newest: those of meta pages that are valid, or else pages
// that have our buckets in them. behind tells whether there may have been a newer
// one: which of the two meta pages is the newer, one that is damaged does not say.
func (w *wreck) roots() (roots []wreckRoot, behind bool) {
	var metas []layout
	for _, at := range []int64{0, w.pageSize} {
		if l, ok := readMetaPage(w.file, at); ok && l.pageSize == w.pageSize {
			metas = append(metas, l)
		}
	}
	slices.SortFunc(metas, func(a, b layout) int { return -cmp.Compare(a.txid, b.txid) })
	behind = len(metas) < 2
	for i, l := range metas {
		if r, ok := w.rootAt(l.root); ok {
			roots = append(roots, r)
		} else if i == 0 {
			behind = true
		}
	}
	if len(roots) > 0 {
		return roots, behind
	}
	for id := uint64(2); id < w.pages; id++ {
		if r, ok := w.rootAt(id); ok {
			roots = append(roots, r)
		}
	}
	slices.SortStableFunc(roots, wreckRoot.newer)
	return roots[:min(len(roots), 2)], true
}

// rootAt looks at a page; ok is false if it is no root of ours. A root with many
// small buckets is a branch.
func (w *wreck) rootAt(id uint64) (r wreckRoot, ok bool) {
	r.page = id
	leaves := []uint64{id}
	if data, flags, count, err := w.page(id); err == nil && flags == flagBranch {
		leaves, _ = branchPages(data, count)
	}
	for _, leaf := range leaves[:min(len(leaves), 64)] {
		data, flags, count, err := w.page(leaf)
		if err != nil || flags != flagLeaf {
			continue
		}
		rows, _ := leafRows(data, count)
		for _, row := range rows {
			ok = r.take(w, row) || ok
		}
	}
	return r, ok
}

// take looks at one bucket of a root.
func (r *wreckRoot) take(w *wreck, row wreckRow) (known bool) {
	if !row.bucket {
		return false
	}
	switch string(row.key) {
	case string(bucketJournal):
		r.commits = sequenceOf(row.value)
		return true
	case string(bucketMeta):
		_, _ = w.tree(0).nested(row.value, func(m wreckRow) error { // without an error there is none
			if string(m.key) == string(keyHead) {
				if h, err := decodeHead(m.value); err == nil {
					r.head = h
				}
			}
			return nil
		})
		return true
	}
	return slices.ContainsFunc(allBuckets(), func(name []byte) bool { return string(name) == string(row.key) })
}
