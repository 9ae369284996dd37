package recall

// merge reads the posting lists of several values of one field as one list:
// ascending, and each number once. It reads ahead in each list, and keeps that
// from one lock hold to the next: however the values are spread, little is read
// twice. What it has read may be gone by the time it is visited; a value number
// that is free by then, and used again, has only messages beyond the walk's
// boundary.
type merge struct {
	table *valueTable
	heads []head // a heap by the number that comes next
	ahead int    // numbers read at a time
	next  uint64 // where the merge stands
}

// head is one list, with what was read of it and not handed out.
type head struct {
	value uint32
	buf   []uint64 // ascending, not empty
	at    int
}

func (h *head) seq() uint64 { return h.buf[h.at] }

// newMerge begins at a number.
func newMerge(table *valueTable, set numbers, from uint64) *merge {
	m := &merge{table: table, heads: make([]head, 0, len(set)), ahead: max(8, 2*walkSlice/len(set)), next: from}
	for _, n := range set {
		h := head{value: n}
		if m.read(&h, from) {
			m.heads = append(m.heads, h)
		}
	}
	for i := len(m.heads)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m
}

// read fills the buffer of a list and reports whether there was anything.
func (m *merge) read(h *head, from uint64) bool {
	h.buf, h.at = m.table.slab[h.value].list.Collect(h.buf[:0], from, m.ahead), 0
	return len(h.buf) > 0
}

// collect appends the next numbers, at most limit.
func (m *merge) collect(dst []uint64, limit int) []uint64 {
	for n := 0; n < limit && len(m.heads) > 0; {
		if seq := m.heads[0].seq(); seq >= m.next {
			dst = append(dst, seq)
			m.next = seq + 1
			n++
		}
		m.advance()
	}
	return dst
}

// advance takes the first number off.
func (m *merge) advance() {
	h := &m.heads[0]
	last := h.seq()
	if h.at++; h.at == len(h.buf) && !m.read(h, last+1) {
		end := len(m.heads) - 1
		m.heads[0], m.heads[end] = m.heads[end], head{}
		m.heads = m.heads[:end]
	}
	m.sink(0)
}

// sink restores the order of the heap below i.
func (m *merge) sink(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.heads); c++ {
			if m.heads[c].seq() < m.heads[least].seq() {
				least = c
			}
		}
		if least == i {
			return
		}
		m.heads[i], m.heads[least] = m.heads[least], m.heads[i]
		i = least
	}
}
