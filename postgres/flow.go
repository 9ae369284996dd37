package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// FlowStates implements [recall.FlowController]. What is in flight is that of all
// processes.
func (e *Engine) FlowStates(ctx context.Context, now time.Time) ([]recall.FlowState, error) {
	if err := e.enter(ctx); err != nil {
		return nil, err
	}
	defer e.leave()
	if err := e.catchUp(ctx); err != nil {
		return nil, err
	}
	return collectFrom(ctx, e.pool, e, func(row pgx.CollectableRow) (s recall.FlowState, err error) {
		var value []byte
		var start *int64
		var used int
		if err := row.Scan(&s.Key, &value, &start, &used, &s.InFlight); err != nil {
			return s, err
		}
		s.FlowSettings = readFlowSettings(value)
		if start != nil && toMS(now) < *start+periodMS(s.Limit) {
			s.PeriodStart, s.Used = fromMS(*start), used
		}
		return s, nil
	}, `SELECT o.name, o.value, f.start_ms, COALESCE(f.used, 0),
			(SELECT count(*) FROM @messages m WHERE m.shard = $1 AND m.flow_key = o.name AND m.flow_key <> '' AND m.state = 1)
		FROM @objects o LEFT JOIN @flows f ON f.shard = $1 AND f.flow_key = o.name
		WHERE o.shard = $1 AND o.kind = $2 ORDER BY o.name`, recall.ObjectFlow)
}

// ResetFlow implements [recall.FlowController].
func (e *Engine) ResetFlow(ctx context.Context, key string, _ time.Time) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	if !isText(key) {
		return recall.ErrNotFound
	}
	return e.do(ctx, func(u *unit) error {
		n, err := u.exec(`UPDATE @flows SET start_ms = NULL, used = 0, look_ms = 0 WHERE shard = $1 AND flow_key = $2 AND limited`, key)
		if err == nil && n == 0 {
			err = recall.ErrNotFound
		}
		u.claim = true
		return err
	})
}

// begun is when the attempts under flow-control keys began that this engine has out: one
// that did not happen is given back to the period that it was counted in, and to no other.
// What is forgotten stays counted.
type begun struct {
	mu sync.Mutex
	at map[recall.LeaseToken]int64
}

func (b *begun) note(leases []recall.Lease, ms int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range leases {
		if leases[i].Message.FlowKey != "" {
			b.at[leases[i].Token] = ms
		}
	}
}

// forget returns when an attempt began, 0 if that is not known.
func (b *begun) forget(t recall.LeaseToken) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	ms := b.at[t]
	delete(b.at, t)
	return ms
}

// clear forgets all.
func (b *begun) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at = map[recall.LeaseToken]int64{}
}

// flow is a flow-control key, as a claim that has locked it sees it.
type flow struct {
	key         string
	limited     bool
	rate        int
	period      int64
	parallelism int
	paused      bool
	start       *int64
	used        int
	inFlight    int
	had         int64 // when it was to be looked into
	look        int64 // and is, after the claim
	begun       int   // by this claim
}

// shut tells whether it lets no attempt begin.
func (f *flow) shut(now int64) bool {
	if !f.limited {
		return false
	}
	if f.start != nil && *f.start > now { // the clock was set back
		f.start = &now
	}
	return f.paused || f.parallelism > 0 && f.inFlight >= f.parallelism || f.rate > 0 && !f.over(now) && f.used >= f.rate
}

func (f *flow) over(now int64) bool { return f.start == nil || now >= *f.start+f.period }

// begins counts an attempt.
func (f *flow) begins(now int64) {
	f.inFlight++
	f.begun++
	if f.rate == 0 {
		return
	}
	if f.over(now) {
		f.start, f.used = &now, 0
	}
	f.used++
}

// nextPeriod is when the period of a shut key ends.
func (f *flow) nextPeriod(now int64) (int64, bool) {
	if f.rate == 0 || f.over(now) {
		return 0, false
	}
	return *f.start + f.period, true
}

const flowColumns = `flow_key, limited, rate, period_ms, parallelism, paused, start_ms, used, look_ms`

func scanFlow(row scanner) (*flow, error) {
	f := &flow{look: never}
	return f, row.Scan(&f.key, &f.limited, &f.rate, &f.period, &f.parallelism, &f.paused, &f.start, &f.used, &f.had)
}
