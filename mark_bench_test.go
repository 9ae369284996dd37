package recall

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall/store"
)

// markIndex returns an index of n pending messages. Labels, topics, schedules
// and URLs are spread evenly over it.
func markIndex(n int) *index {
	ix := newIndex(true)
	for i := range n {
		rec := &store.Record{
			Queue:    fmt.Appendf(nil, "queue-%d", i*10/n),
			URL:      fmt.Appendf(nil, "https://api.example.com/hooks/%06d", i%10_000),
			Topic:    fmt.Appendf(nil, "topic-%d", i/7%20),
			Schedule: fmt.Appendf(nil, "scd_%d", i/3%100),
			CallerIP: fmt.Appendf(nil, "192.0.2.%d", i/10%50),
			Labels:   [][]byte{fmt.Appendf(nil, "label-%d", i%10)},
		}
		if i%1000 == 0 {
			rec.Labels = append(rec.Labels, []byte("rare"))
		}
		ms := 1_800_000_000_000 + int64(i/100)
		ix.insert(uint64(i+1), rec, times{created: ms, wall: ms, due: ms})
	}
	ix.visible = ix.last
	return ix
}

// BenchmarkMark walks one of the indexes of a million messages and marks what
// it meets.
func BenchmarkMark(b *testing.B) {
	const n = 1_000_000
	defer func(was func(from, to phase)) { onMove = was }(onMove)
	onMove = nil
	ix := markIndex(n)
	for name, f := range map[string]Filter{
		"every 1000th": {Labels: []string{"rare"}},
		"every 10th":   {Labels: []string{"label-3"}},
		"contiguous":   {Queues: []string{"queue-4"}},
		"all":          {Hosts: []string{"api.example.com"}},
	} {
		b.Run(name, func(b *testing.B) { benchMark(b, ix, f) })
	}
}

func benchMark(b *testing.B, ix *index, f Filter) {
	var mu sync.Mutex
	q := translate(f, time.UnixMilli(1_800_000_000_000))
	ix.compile(q)
	var seqs []uint64
	marked := 0
	for b.Loop() {
		w := ix.newWalk(q)
		seqs = seqs[:0]
		w.run(&mu, func(p *page, e entry, seq uint64) verdict {
			ix.mark(p, e, 1)
			seqs = append(seqs, seq)
			return goOn
		})
		marked += len(seqs)
		b.StopTimer()
		for _, seq := range seqs {
			p, e := ix.lookup(seq)
			ix.move(p, e, phasePending)
		}
		runtime.GC()
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(marked), "ns/message")
}

// BenchmarkUnlink takes every tenth message of a million out of the index, and
// then others.
func BenchmarkUnlink(b *testing.B) {
	const n, tenth = 1_000_000, 10
	var ix *index
	first := uint64(tenth)
	for b.Loop() {
		b.StopTimer()
		if first++; first > tenth {
			first, ix = 1, markIndex(n)
		}
		var seqs []uint64
		for seq := first; seq <= n; seq += tenth {
			p, e := ix.lookup(seq)
			ix.mark(p, e, 1)
			seqs = append(seqs, seq)
		}
		b.StartTimer()
		for some := range slices.Chunk(seqs, applySlice) {
			ix.unlinkAll(some)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n/tenth), "ns/message")
}
