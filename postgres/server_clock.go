package postgres

import (
	"sync"
	"time"

	"github.com/recallmq/recall"
)

// serverClock shows the time of the server: this process only counts how much has
// passed since it last asked. What its own clock shows, and whether somebody sets that,
// is of no account.
type serverClock struct {
	local func() time.Time // for the time between two calls of it only
	start time.Time

	mu    sync.Mutex
	asked bool
	ahead time.Duration // of the server's clock, since 1970, when this one was started
	last  time.Time     // that was shown
}

// smallStep is up to where a clock that turns out to be ahead waits for the right time
// to come, instead of showing the same time again.
const smallStep = time.Second

func newServerClock(local func() time.Time) *serverClock {
	return &serverClock{local: local, start: local()}
}

// passed is how long this clock runs.
func (c *serverClock) passed() time.Duration { return c.local().Sub(c.start) }

// answered takes an answer of the server, in microseconds since 1970, to a question that
// was asked and answered when this clock had run so long. The answer was given some time
// between: where the server's clock is then is known within that, and what was believed
// stays while it may be true. So an answer that took long does no harm, and quick ones
// mend what it left.
func (c *serverClock) answered(server int64, asked, heard time.Duration) {
	at := time.Duration(server) * time.Microsecond
	least, most := at-heard, at-asked
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked {
		c.asked, c.ahead = true, least+(most-least)/2
		return
	}
	c.ahead = min(max(c.ahead, least), most)
}

// Now implements [recall.Clock].
func (c *serverClock) Now() time.Time {
	passed := c.passed()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Unix(0, int64(c.ahead+passed))
	if now.Before(c.last) && c.last.Sub(now) < smallStep {
		return c.last
	}
	c.last = now
	return now
}

// AfterFunc implements [recall.Clock].
func (c *serverClock) AfterFunc(d time.Duration, f func()) func() bool { return afterFunc(d, f) }

// Offset implements [recall.OffsetClock].
func (c *serverClock) Offset() time.Duration { return c.Now().Sub(c.local().Round(0)) }

// Clock implements [recall.Clocked]: it returns the clock of the database, as it is
// asked for with every poll. All processes on a queue go by it, whatever theirs shows.
func (e *Engine) Clock() recall.Clock { return e.clock }
