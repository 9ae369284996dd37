package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// output is what was printed.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// check compares what was printed since the last check.
func (o *output) check(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if got := o.buf.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	o.buf.Reset()
}

// TestLater: texts come when they are due and not before, what was dropped does
// not come, and a line that cannot be read is no harm to others.
func TestLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later.db")
	synctest.Test(t, func(t *testing.T) {
		out := &output{}
		b, err := open(path, out)
		if err != nil {
			t.Fatal(err)
		}
		in := "10m tea is ready\n\nsoon nothing\n1h call the dentist\n2h cold tea\n"
		if err := read(t.Context(), b, strings.NewReader(in), out); err != nil {
			t.Fatal(err)
		}
		out.check(t, "time: invalid duration \"soon\"\n")
		time.Sleep(10*time.Minute - time.Millisecond)
		out.check(t, "")
		time.Sleep(time.Millisecond)
		out.check(t, "tea is ready\n")
		if err := read(t.Context(), b, strings.NewReader("drop tea\ndrop\n"), out); err != nil {
			t.Fatal(err)
		}
		out.check(t, "dropped: 1\ndropped: 0\n")
		time.Sleep(3 * time.Hour)
		out.check(t, "call the dentist\n")
		if err := shut(b); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRestart: what became due while the program did not run is printed when it
// does, and the rest in its time.
func TestRestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "later.db")
	synctest.Test(t, func(t *testing.T) {
		out := &output{}
		b, err := open(path, out)
		if err != nil {
			t.Fatal(err)
		}
		if err := read(t.Context(), b, strings.NewReader("1h one\n3h three\n"), out); err != nil {
			t.Fatal(err)
		}
		if err := shut(b); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		out.check(t, "")
		if b, err = open(path, out); err != nil {
			t.Fatal(err)
		}
		out.check(t, "one\n")
		time.Sleep(time.Hour)
		out.check(t, "three\n")
		if err := shut(b); err != nil {
			t.Fatal(err)
		}
	})
}
