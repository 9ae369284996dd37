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
	c.alone = 1
	if c.comes(queue) {
		t.Fatal("a commit that was to go alone has waited")
	}
	for range 100 { // the first time another goroutine may have had the processor
		if c.comes(queue) {
			return
		}
		c.alone = 0 // a machine so busy that it took long
	}
	t.Error("a goroutine that was ready did not get the processor")
}

// TestCompanyOfBusyGoroutines: where letting others run takes long, commits go
// alone, longer and longer, until it is quick again.
func TestCompanyOfBusyGoroutines(t *testing.T) {
	var c company
	for _, want := range []int{leastAlone, 2 * leastAlone, 4 * leastAlone} {
		c.took(2 * companyTime)
		if c.alone != want {
			t.Fatalf("%d commits go alone, want %d", c.alone, want)
		}
		for range want {
			if c.comes(nil) {
				t.Fatal("a request came out of no queue")
			}
		}
		if c.alone != 0 {
			t.Fatalf("%d commits still go alone", c.alone)
		}
	}
	for range 20 {
		c.took(2 * companyTime)
	}
	if c.alone != mostAlone {
		t.Errorf("%d commits go alone, at most %d should", c.alone, mostAlone)
	}
	c.took(time.Microsecond)
	c.took(2 * companyTime)
	if c.alone != leastAlone {
		t.Errorf("%d commits go alone after a quick one, want %d", c.alone, leastAlone)
	}
}
