package dump_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dump"
)

// checkSame compares two queues: what a dump says of them is all that is moved.
func checkSame(t testing.TB, got, want recall.Engine) {
	t.Helper()
	a, b := contents(t, got), contents(t, want)
	if bytes.Equal(a, b) {
		return
	}
	la, lb := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(la), len(lb)) {
		if la[i] != lb[i] {
			t.Fatalf("line %d:\ngot  %s\nwant %s", i+2, la[i], lb[i])
		}
	}
	t.Fatalf("got %d lines, want %d", len(la), len(lb))
}

// TestMove takes a queue to another file, in which it is the same, also after a restart.
func TestMove(t *testing.T) {
	from := newFile(t)
	fill(t, from, 1000)
	text := exported(t, from)
	path := filepath.Join(t.TempDir(), "to.db")
	to := open(t, path)
	var last int64
	report, err := dump.Import(t.Context(), to, bytes.NewReader(text), now, func(done, _ int64) { last = done })
	if err != nil {
		t.Fatal(err)
	}
	if report.Messages < 800 || report.Dead == 0 || report.Standing != 1 || report.Rows != 1 || report.Objects < 5 || last == 0 {
		t.Errorf("got %+v, progress %d", report, last)
	}
	checkSame(t, to, from)
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	to = open(t, path)
	checkSame(t, to, from)

	again, err := dump.Import(t.Context(), to, bytes.NewReader(text), now, nil)
	if err != nil || again.Counts != (dump.Counts{}) || again.Resumed != report.Lines-1 {
		t.Errorf("once more: got %+v, %v, want nothing", again, err)
	}
	if _, err := to.CancelMatching(t.Context(), recall.CancelMatchingRequest{All: true, Now: now}); err != nil {
		t.Fatal(err)
	}
	if _, err := dump.Import(t.Context(), to, bytes.NewReader(text), now, nil); err != nil {
		t.Fatal(err)
	}
	if st := to.Stats(); st.Pending != 0 {
		t.Errorf("an import that is done has brought back %d messages", st.Pending)
	}
	if report, err := recall.Compact(t.Context(), closed(t, to, path), nil); err != nil {
		t.Error(report, err)
	}
}

func closed(t *testing.T, e recall.Engine, path string) string {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// failing is an engine whose n-th import fails, before it or after it.
type failing struct {
	recall.Engine
	n     int
	after bool
}

var errInjected = errors.New("injected")

func (f *failing) Import(ctx context.Context, batch recall.Import) (recall.Imported, error) {
	if f.n--; f.n == 0 && !f.after {
		return recall.Imported{}, errInjected
	}
	stored, err := f.Engine.(recall.Importer).Import(ctx, batch)
	if f.n == 0 {
		err = errInjected
	}
	return stored, err
}

func (f *failing) Update(ctx context.Context, fn func(recall.EngineTx) error) error {
	return f.Engine.(recall.Transactor).Update(ctx, fn)
}

func (f *failing) Lookup(ctx context.Context, bucket string, key []byte) ([]byte, error) {
	return f.Engine.(recall.Transactor).Lookup(ctx, bucket, key)
}

// TestImportGoesOn interrupts an import at each of its units, with an answer that is
// lost and without.
func TestImportGoesOn(t *testing.T) {
	from := newFile(t)
	fill(t, from, 3500)
	text := exported(t, from)
	for _, after := range []bool{false, true} {
		for n, whole := 1, false; !whole; n++ {
			t.Run(fmt.Sprint(n, after), func(t *testing.T) {
				to := newFile(t)
				_, err := dump.Import(t.Context(), &stands{failing{to, n, after}, to.(recall.Stander)}, bytes.NewReader(text), now, nil)
				if whole = err == nil; !whole && !errors.Is(err, errInjected) {
					t.Fatal(err)
				}
				// Some of what is in is gone when the import goes on.
				gone := 0
				if list, err := to.List(t.Context(), recall.Filter{}, "", 1, now); err != nil {
					t.Fatal(err)
				} else if len(list) > 0 && !whole {
					if err := to.Cancel(t.Context(), recall.CancelRequest{ID: list[0].ID, Now: now}); err != nil {
						t.Fatal(err)
					}
					gone = 1
				}
				if _, err := dump.Import(t.Context(), to, bytes.NewReader(text), now, nil); err != nil {
					t.Fatal(err)
				}
				if gone == 0 {
					checkSame(t, to, from)
				} else if got, want := to.Stats(), from.Stats(); got.Pending != want.Pending-1 || got.DeadLetters != want.DeadLetters {
					t.Errorf("got %d messages and %d dead letters, want %d and %d", got.Pending, got.DeadLetters, want.Pending-1, want.DeadLetters)
				}
			})
		}
	}
}

// stands makes standing cancellations, too.
type stands struct {
	failing
	recall.Stander
}

// TestBadDump: what is no whole dump is refused, with the line.
func TestBadDump(t *testing.T) {
	from := newFile(t)
	fill(t, from, 20)
	text := string(exported(t, from))
	lines := strings.SplitAfter(text, "\n")
	for name, bad := range map[string]string{
		"nothing":         "",
		"no dump":         "hello\n",
		"another version": `{"dump":{"version":2,"id":"x","at":"2027-01-01T00:00:00Z"}}` + "\n",
		"cut in a line":   text[:len(text)/2],
		"cut behind one":  strings.Join(lines[:10], ""),
		"no end":          strings.Join(lines[:len(lines)-2], ""),
		"a line missing":  strings.Join(lines[:9], "") + strings.Join(lines[10:], ""),
		"more":            text + "{}\n",
		"unknown member":  lines[0] + `{"message":{"id":"x","colour":1}}` + "\n",
		"two members":     lines[0] + `{"end":{},"object":{}}` + "\n",
		"unknown object":  lines[0] + `{"object":{"kind":"x","name":"y","value":{}}}` + "\n",
		"a foreign row":   lines[0] + `{"row":{"bucket":"mine","key":"","value":""}}` + "\n",
		"dead of nothing": lines[0] + `{"dead":{"diedAt":"2027-01-01T00:00:00Z","attempts":1}}` + "\n",
	} {
		_, err := dump.Import(t.Context(), newFile(t), strings.NewReader(bad), now, nil)
		if !errors.Is(err, dump.ErrDump) {
			t.Errorf("%s: got %v, want ErrDump", name, err)
		}
	}
}

// TestWriteFails returns the error of the writer.
func TestWriteFails(t *testing.T) {
	from := newFile(t)
	fill(t, from, 2000)
	r, w := io.Pipe()
	_ = r.CloseWithError(errInjected)
	if _, err := dump.Export(t.Context(), from, w, now, nil); !errors.Is(err, errInjected) {
		t.Errorf("got %v", err)
	}
}
