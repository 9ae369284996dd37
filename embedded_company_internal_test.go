package recall

import (
	"runtime"
	"testing"
	"time"
)

// TestCompany: a goroutine that is ready to queue a request is let through.
func TestCompany(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	queue := make(chan *request, 1)
	var c company
	if c.comes(queue) {
		t.Fatal("a request came, and nobody has queued any")
	}
	go func() { queue <- nil }()
	c = company{spent: 2 * companyTime}
	if c.comes(queue) {
		t.Fatal("a commit that was to go alone has waited")
	}
	for range 100 { // the first time another goroutine may have had the processor
		if c = (company{}); c.comes(queue) { // anew: the machine may be so busy that it took long
			return
		}
	}
	t.Error("a goroutine that was ready did not get the processor")
}

// TestCompanyOfBusyGoroutines: where letting others run takes long, at once or in
// sum, commits go alone, longer and longer, until it is quick again.
func TestCompanyOfBusyGoroutines(t *testing.T) {
	var c company
	for _, want := range []int{leastAlone, 2 * leastAlone, 4 * leastAlone} {
		c.took(companyTime)
		if c.alone != 0 {
			t.Fatal("commits go alone though it took no longer than it may")
		}
		c.took(time.Microsecond)
		if alone := commitsAlone(t, &c); alone != want {
			t.Fatalf("%d commits went alone, want %d", alone, want)
		}
	}
	c.begin() // a commit of outcomes that a timer has begun: nobody was let run
	c.took(2 * companyTime)
	if alone := commitsAlone(t, &c); alone != 8*leastAlone {
		t.Fatalf("%d commits went alone behind one that asked for nobody, want %d", alone, 8*leastAlone)
	}
	for range 20 {
		c.took(2 * companyTime)
		commitsAlone(t, &c)
	}
	c.took(2 * companyTime)
	if alone := commitsAlone(t, &c); alone != mostAlone {
		t.Errorf("%d commits went alone, at most %d should", alone, mostAlone)
	}
	c.took(companyTime)
	c.begin()
	c.took(2 * companyTime)
	if alone := commitsAlone(t, &c); alone != leastAlone {
		t.Errorf("%d commits went alone after a quick one, want %d", alone, leastAlone)
	}
}

// commitsAlone goes on to the commit before which others may join again, and returns
// how many went alone until then, the one that took long not included.
func commitsAlone(t *testing.T, c *company) (n int) {
	t.Helper()
	for c.begin(); c.spent > 0; c.begin() {
		if c.comes(nil) || c.spent == 0 {
			t.Fatal("a commit that goes alone has waited")
		}
		n++
	}
	return n
}
