package recall

import (
	"context"
	"slices"
	"sync"
)

// gate is shared by walks, from their first mark to the commit, and taken alone
// by a transaction, which therefore meets no mark that may be undone. Who comes
// first goes first, so that neither kind can keep the other out. It waits by
// channel, so that a context can end the wait. The zero value is open.
type gate struct {
	mu     sync.Mutex
	shared int
	alone  bool
	line   []*waiting
}

// waiting is one who stands before the gate.
type waiting struct {
	alone bool
	in    chan struct{} // closed when let in
}

// enter shares the gate until leave.
func (g *gate) enter(ctx context.Context) error { return g.take(ctx, false) }

// enterAlone takes the gate until leaveAlone.
func (g *gate) enterAlone(ctx context.Context) error { return g.take(ctx, true) }

func (g *gate) leave() { g.change(func() { g.shared-- }) }

func (g *gate) leaveAlone() { g.change(func() { g.alone = false }) }

// pass waits for the end of a transaction that is under way.
func (g *gate) pass(ctx context.Context) error {
	if err := g.enter(ctx); err != nil {
		return err
	}
	g.leave()
	return nil
}

func (g *gate) take(ctx context.Context, alone bool) error {
	w := &waiting{alone: alone, in: make(chan struct{})}
	g.change(func() { g.line = append(g.line, w) })
	select {
	case <-w.in:
		return nil
	default:
	}
	err := await(ctx, w.in)
	if err != nil {
		g.giveUp(w)
	}
	return err
}

// giveUp takes one who no longer wants to get in out of the line, or out again.
func (g *gate) giveUp(w *waiting) {
	g.change(func() {
		i := slices.Index(g.line, w)
		switch {
		case i >= 0:
			g.line = slices.Delete(g.line, i, i+1)
		case w.alone:
			g.alone = false
		default:
			g.shared--
		}
	})
}

// change does something and lets in who can then go in.
func (g *gate) change(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
	for len(g.line) > 0 {
		w := g.line[0]
		switch {
		case g.alone, w.alone && g.shared > 0:
			return
		case w.alone:
			g.alone = true
		default:
			g.shared++
		}
		close(w.in)
		g.line = slices.Delete(g.line, 0, 1)
	}
}
