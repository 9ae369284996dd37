package postgres

import (
	"testing"
	"time"
)

// handClock is a local clock that a test moves.
type handClock struct{ now time.Time }

func (h *handClock) Now() time.Time { return h.now }

func newHandClock() (*handClock, *serverClock) {
	h := &handClock{time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)}
	return h, newServerClock(h.Now)
}

// ask has the server answer at its time, which is not this machine's, to a question that
// was under way for so long before and after.
func (h *handClock) ask(c *serverClock, server time.Time, there, back time.Duration) {
	asked := c.passed()
	h.now = h.now.Add(there + back)
	c.answered(server.UnixMicro(), asked, c.passed())
}

func TestServerClock(t *testing.T) {
	h, c := newHandClock()
	server := time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)
	want := func(at time.Time) {
		t.Helper()
		if got := c.Now(); !got.Equal(at) {
			t.Fatalf("it is %v, want %v", got.UTC(), at)
		}
	}
	h.ask(c, server, 10*time.Millisecond, 10*time.Millisecond)
	want(server.Add(10 * time.Millisecond)) // the middle of the way
	h.now = h.now.Add(time.Minute)
	want(server.Add(time.Minute + 10*time.Millisecond))
	if got, want := c.Offset(), c.Now().Sub(h.now); got != want {
		t.Errorf("Offset: got %v, want %v", got, want)
	}

	// An answer that took its time says nothing new.
	server = server.Add(time.Minute + 10*time.Millisecond)
	h.ask(c, server, 0, 5*time.Second)
	server = server.Add(5 * time.Second)
	want(server)

	// A quick one mends what a slow one has left: all of its way was the way there.
	h, c = newHandClock()
	h.ask(c, server, 400*time.Millisecond, 0)
	want(server.Add(200 * time.Millisecond)) // the way was thought to be as long back
	h.ask(c, server, 0, 0)
	want(server.Add(200 * time.Millisecond)) // time does not go back for that
	h.now = h.now.Add(300 * time.Millisecond)
	want(server.Add(300 * time.Millisecond))

	// Somebody sets the clock of the server.
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour} {
		server = server.Add(step)
		h.ask(c, server, 0, 0)
		want(server)
	}
}
