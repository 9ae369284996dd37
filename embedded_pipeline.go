package recall

import (
	"fmt"

	"github.com/recallmq/recall/store"
)

// A pipeline carries the rows of a file from who reads and decodes them to who
// takes them into the index, each in a goroutine of its own: with a second
// processor, an open takes as long as the slower half. The order stays.
type pipeline struct {
	full  chan *loadedRows // to take
	empty chan *loadedRows // to fill
	at    *loadedRows      // being filled; nil: none yet
	done  chan error
}

// loadedRows is some rows, and the bytes that their records are views into: those of
// the file are mapped memory, which only its reader is guarded for.
type loadedRows struct {
	buf  []byte
	rows []loadedRow
}

// loadedRow is a row that lives.
type loadedRow struct {
	table store.Table
	seq   uint64
	rec   store.Record
	state store.State
}

const (
	pipelineBatches = 4
	pipelineRows    = 256
	pipelineBytes   = 64 << 10 // as a start: one row fits in any case
)

// startPipeline starts the goroutine that calls take for each row; endRows ends it.
func startPipeline(take func(*loadedRow)) *pipeline {
	p := &pipeline{
		full:  make(chan *loadedRows, pipelineBatches),
		empty: make(chan *loadedRows, pipelineBatches),
		done:  make(chan error, 1),
	}
	for range pipelineBatches {
		p.empty <- &loadedRows{buf: make([]byte, 0, pipelineBytes), rows: make([]loadedRow, 0, pipelineRows)}
	}
	go func() { p.done <- p.takeRows(take) }()
	return p
}

// takeRows takes rows until there are no more. After a panic it goes on without
// taking them, so that nobody waits for it.
func (p *pipeline) takeRows(take func(*loadedRow)) (err error) {
	for b := range p.full {
		if err == nil {
			err = b.takeEach(take)
		}
		p.empty <- b
	}
	return err
}

// takeEach makes an error of a panic, as the reader of the file does: what a row
// says may be sound by its sum and make no sense.
func (b *loadedRows) takeEach(take func(*loadedRow)) (err error) {
	at := 0
	defer func() {
		if p := recover(); p != nil {
			err = &store.CorruptError{Err: fmt.Errorf("taking in message %d failed: %v", b.rows[at].seq, p)}
		}
	}()
	for at = range b.rows {
		take(&b.rows[at])
	}
	return nil
}

// passRow decodes a row and puts it on. The row may be gone when it returns.
func (p *pipeline) passRow(table store.Table, seq uint64, row []byte, st store.State) error {
	b := p.rowRoom(len(row))
	from := len(b.buf)
	b.buf = append(b.buf, row...) // where it has to grow, the rows before keep the old one
	b.rows = b.rows[:len(b.rows)+1]
	r := &b.rows[len(b.rows)-1]
	r.table, r.seq, r.state = table, seq, st
	if err := store.DecodeRecord(seq, b.buf[from:], &r.rec); err != nil {
		b.rows = b.rows[:len(b.rows)-1]
		return err
	}
	return nil
}

// rowRoom returns what a row is to be put into.
func (p *pipeline) rowRoom(size int) *loadedRows {
	if b := p.at; b != nil && (len(b.rows) == cap(b.rows) || len(b.buf) > 0 && len(b.buf)+size > cap(b.buf)) {
		p.passRows()
	}
	if p.at == nil {
		p.at = <-p.empty
		p.at.buf, p.at.rows = p.at.buf[:0], p.at.rows[:0]
	}
	return p.at
}

func (p *pipeline) passRows() {
	p.full <- p.at
	p.at = nil
}

// endRows waits until every row is taken.
func (p *pipeline) endRows() error {
	if p.at != nil {
		p.passRows()
	}
	close(p.full)
	return <-p.done
}
