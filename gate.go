package recall

import (
	"context"
	"sync"
)

// gate is shared by walks, from their first mark to the commit, and taken alone
// by a transaction, which therefore meets no mark that may be undone. Who wants
// it alone goes before who comes later. It waits by channel, so that a context
// can end the wait. The zero value is open.
type gate struct {
	mu      sync.Mutex
	shared  int
	alone   bool
	wanting int           // for themselves alone
	changed chan struct{} // closed at the next change; nil: nobody waits
}

// enter shares the gate until leave.
func (g *gate) enter(ctx context.Context) error {
	return g.take(ctx, func() bool {
		if g.alone || g.wanting > 0 {
			return false
		}
		g.shared++
		return true
	})
}

func (g *gate) leave() { g.change(func() { g.shared-- }) }

// pass waits for the end of a transaction that is under way.
func (g *gate) pass(ctx context.Context) error {
	if err := g.enter(ctx); err != nil {
		return err
	}
	g.leave()
	return nil
}

// enterAlone takes the gate until leaveAlone.
func (g *gate) enterAlone(ctx context.Context) error {
	g.change(func() { g.wanting++ })
	defer g.change(func() { g.wanting-- })
	return g.take(ctx, func() bool {
		if g.alone || g.shared > 0 {
			return false
		}
		g.alone = true
		return true
	})
}

func (g *gate) leaveAlone() { g.change(func() { g.alone = false }) }

// take tries until it succeeds or ctx ends.
func (g *gate) take(ctx context.Context, try func() bool) error {
	for {
		g.mu.Lock()
		if try() {
			g.mu.Unlock()
			return nil
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		changed := g.changed
		g.mu.Unlock()
		if err := await(ctx, changed); err != nil {
			return err
		}
	}
}

func (g *gate) change(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}
