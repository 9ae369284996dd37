package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// Benchmarks run on a server of their own that syncs, unlike that of the tests:
//
//	go test -run - -bench . -benchtime 20000x
//
// One operation is one message.

const (
	benchBody  = 256
	benchConns = 24
)

// benchServer starts a server that is as durable as one in use.
func benchServer(b *testing.B) string {
	b.Helper()
	s, err := pgtest.Start("fsync=on", "shared_buffers=512MB", "max_wal_size=4GB")
	if err != nil {
		b.Skip(err)
	}
	b.Cleanup(func() { _ = s.Stop() })
	return fmt.Sprintf("%s&pool_max_conns=%d", s.DSN(), benchConns)
}

func benchEngine(b *testing.B) *postgres.Engine {
	b.Helper()
	e, err := postgres.Open(b.Context(), benchServer(b), &postgres.Options{LeaseTime: time.Hour, PollInterval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	return e
}

func benchMessages(n int) []recall.Message {
	msgs := make([]recall.Message, n)
	for i := range msgs {
		msgs[i] = message("all")
		msgs[i].Body = make([]byte, benchBody)
	}
	return msgs
}

// fill publishes n messages, of which every tenth has the label "tenth".
func fill(b *testing.B, e *postgres.Engine, n int) {
	b.Helper()
	for done := 0; done < n; {
		part := benchMessages(min(2000, n-done))
		for i := range part {
			if (done+i)%10 == 0 {
				part[i].Labels = []string{"tenth"}
			}
		}
		if _, err := e.Insert(b.Context(), part, base); err != nil {
			b.Fatal(err)
		}
		done += len(part)
	}
}

// share has goroutines call f, which says how many messages it has dealt with, until
// b.N are, and reports how long the calls took.
func share(b *testing.B, goroutines int, f func() int) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(b.N))
	took := make([][]time.Duration, goroutines)
	var all sync.WaitGroup
	b.ResetTimer()
	for g := range goroutines {
		all.Go(func() {
			for left.Load() > 0 {
				start := time.Now()
				n := f()
				took[g] = append(took[g], time.Since(start))
				left.Add(-int64(n))
			}
		})
	}
	all.Wait()
	b.StopTimer()
	calls := slices.Concat(took...)
	slices.Sort(calls)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
	b.ReportMetric(float64(calls[len(calls)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(calls[len(calls)*99/100].Microseconds())/1000, "p99-ms")
}

var loads = []struct{ batch, goroutines int }{{1, 1}, {1, 16}, {100, 4}}

func BenchmarkPublish(b *testing.B) {
	for _, l := range loads {
		b.Run(fmt.Sprintf("%d_by_%d", l.batch, l.goroutines), func(b *testing.B) {
			e := benchEngine(b)
			share(b, l.goroutines, func() int {
				if _, err := e.Insert(b.Context(), benchMessages(l.batch), base); err != nil {
					b.Error(err)
				}
				return l.batch
			})
		})
	}
}

func BenchmarkClaimFinish(b *testing.B) {
	for _, l := range loads {
		b.Run(fmt.Sprintf("%d_by_%d", l.batch, l.goroutines), func(b *testing.B) {
			e := benchEngine(b)
			fill(b, e, b.N)
			share(b, l.goroutines, func() int {
				res, err := e.Claim(b.Context(), recall.ClaimRequest{Now: base, Max: l.batch})
				if err != nil {
					b.Error(err)
				}
				finishAll(b, e, res.Leases)
				return len(res.Leases)
			})
		})
	}
}

// finishAll ends attempts as a broker does: each by a call of its own.
func finishAll(b *testing.B, e *postgres.Engine, leases []recall.Lease) {
	var all sync.WaitGroup
	for i := range leases {
		all.Go(func() {
			if err := e.Finish(context.Background(), leases[i], recall.Finish{Outcome: recall.Delivered, Now: base}); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
}

// BenchmarkCancel cancels a tenth of b.N messages by a label.
func BenchmarkCancel(b *testing.B) {
	e := benchEngine(b)
	fill(b, e, b.N)
	b.ResetTimer()
	res, err := e.CancelMatching(b.Context(), recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"tenth"}}, Now: base})
	b.StopTimer()
	if err != nil || res.Cancelled != (b.N+9)/10 {
		b.Fatalf("cancelled %d of %d: %v", res.Cancelled, b.N, err)
	}
	b.ReportMetric(float64(res.Cancelled)/b.Elapsed().Seconds(), "cancelled/s")
}
