package recall

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGateTakesTurns has one who wants the gate alone at any time, and many who
// want to share it: all get in.
func TestGateTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		ctx, cancel := context.WithCancel(t.Context())
		var transactions sync.WaitGroup
		turns := make([]int, 3)
		for i := range turns { // a transaction after the other, several at a time
			transactions.Go(func() {
				for ctx.Err() == nil && g.enterAlone(ctx) == nil {
					turns[i]++
					time.Sleep(time.Millisecond)
					g.leaveAlone()
				}
			})
		}
		for range 5 {
			if err := g.enter(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			g.leave()
		}
		cancel()
		transactions.Wait()
		for i, n := range turns {
			if n == 0 {
				t.Errorf("transaction %d never had the gate", i)
			}
		}
		wantOpen(t, &g)
	})
}

// TestGateForgetsWhoLeaves ends the wait of everyone who stands in line.
func TestGateForgetsWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g gate
		ctx, cancel := context.WithCancel(t.Context())
		if err := g.enterAlone(ctx); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error)
		for _, line := range []struct {
			wait  func(context.Context) error
			leave func()
		}{{g.enter, g.leave}, {g.enterAlone, g.leaveAlone}, {g.enter, g.leave}} {
			go func() {
				err := line.wait(ctx)
				if err == nil { // let in at the last moment
					line.leave()
				}
				ended <- err
			}()
			synctest.Wait()
		}
		g.leaveAlone() // two may share it now, but are gone before they do
		cancel()
		for range 3 {
			if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		wantOpen(t, &g)
	})
}

// wantOpen: nobody has the gate, and nobody waits.
func wantOpen(t *testing.T, g *gate) {
	t.Helper()
	if g.shared != 0 || g.alone || len(g.line) != 0 {
		t.Errorf("the gate is left %d shared, alone %v, and %d stand in line", g.shared, g.alone, len(g.line))
	}
}
