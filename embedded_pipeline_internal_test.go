package recall

import (
	"bytes"
	"errors"
	"testing"

	"github.com/recallmq/recall/store"
)

// pipelineRow is the row of a message with a body of text in its URL.
func pipelineRow(seq uint64, size int) []byte {
	rec := store.Record{URL: append([]byte("https://"), bytes.Repeat([]byte{'a' + byte(seq%26)}, size)...)}
	row := store.AppendRecord(nil, &rec)
	store.SealRecord(row, seq, rec.ID)
	return row
}

// TestPipelineKeepsRows gives the pipeline rows of all sizes in one buffer, which
// the next row overwrites, as the pages of a file may be gone.
func TestPipelineKeepsRows(t *testing.T) {
	const rows = 5000
	next := uint64(1)
	p := startPipeline(func(r *loadedRow) {
		want := 8 + int(r.seq*37%900) + 1
		if r.seq%1000 == 0 {
			want += pipelineBytes
		}
		if r.seq != next || len(r.rec.URL) != want || r.rec.URL[8] != 'a'+byte(r.seq%26) || r.rec.URL[want-1] != r.rec.URL[8] {
			t.Errorf("row %d instead of %d, %d bytes of %d, %.20q", r.seq, next, len(r.rec.URL), want, r.rec.URL)
		}
		next++
	})
	var buf []byte
	for seq := uint64(1); seq <= rows; seq++ {
		size := int(seq*37%900) + 1
		if seq%1000 == 0 {
			size += pipelineBytes
		}
		buf = append(buf[:0], pipelineRow(seq, size)...)
		if err := p.passRow(store.Live, seq, buf, store.State{}); err != nil {
			t.Fatal(err)
		}
		clear(buf)
	}
	if err := p.endRows(); err != nil || next != rows+1 {
		t.Errorf("%v after %d rows of %d", err, next-1, rows)
	}
}

// TestPipelineEnds refuses a damaged row at once, and makes an error of a panic
// without waiting for ever.
func TestPipelineEnds(t *testing.T) {
	taken := 0
	p := startPipeline(func(r *loadedRow) {
		if taken++; r.seq == 300 {
			panic("no sense")
		}
	})
	for seq := uint64(1); seq < 5000; seq++ {
		if err := p.passRow(store.Live, seq, pipelineRow(seq, 10), store.State{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.passRow(store.Live, 5000, pipelineRow(4999, 10), store.State{}); err == nil {
		t.Error("the row of another message was taken")
	}
	var corrupt *store.CorruptError
	if err := p.endRows(); !errors.As(err, &corrupt) || taken != 300 {
		t.Errorf("%v after %d rows", err, taken)
	}
}
