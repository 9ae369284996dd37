package pgtest

import (
	"context"
	"slices"
	"testing"

	"github.com/recallmq/recall/postgres/pgserver"
)

// Pair is a primary and its standby. Its addresses are for package pgxpool, and bound a
// pool.
type Pair struct{ *pgserver.Pair }

// WithStandby starts a primary and a synchronous standby of it, for one test, with which
// both end.
func WithStandby(t testing.TB, settings ...string) *Pair {
	t.Helper()
	p, err := pgserver.StartPair(context.Background(), pgserver.Config{
		Settings: slices.Concat(small, quick, pgserver.Replicated, settings),
	})
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(func() { stop(t, p) })
	return &Pair{p}
}

// DSN is the address of both: it leads to the one that can be written to.
func (p *Pair) DSN() string { return Pooled(p.Pair.DSN()) }

// Primary is the address of the primary, and Standby that of the standby, whatever they are.
func (p *Pair) Primary() string { return Pooled(p.Pair.Primary().DSN()) }

// Standby is the address of the standby; see [Pair.Primary].
func (p *Pair) Standby() string { return Pooled(p.Pair.Standby().DSN()) }
