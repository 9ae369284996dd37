package recall_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	bolt "go.etcd.io/bbolt"
)

// largeFile has so much in it that progress of each pass over it is told many times.
func largeFile(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	msgs := make([]recall.Message, 12_000)
	for i := range msgs {
		msgs[i] = storyMessage("m", now)
		msgs[i].Header = map[string][]string{"X-Text": {strings.Repeat("x", 200)}}
		msgs[i].Labels = []string{"a label that makes the record long, so that reading records takes some bytes"}
		msgs[i].Body = make([]byte, 500)
	}
	if _, err := e.Insert(t.Context(), msgs, now); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// passes collects what is told of each part of a call.
type passes struct {
	progressCheck
	part  string
	parts map[string][]int64
}

func newPasses(t *testing.T) *passes {
	return &passes{progressCheck: progressCheck{t: t}, parts: map[string][]int64{}}
}

func (p *passes) tell(done, total int64) {
	p.progressCheck.tell(done, total)
	p.parts[p.part] = append(p.parts[p.part], done)
}

// check makes sure that a part has at least that share of the total, in percent, and
// goes on in steps of at most a tenth of the total.
func (p *passes) check(part string, share int64) {
	p.t.Helper()
	told := slices.Compact(slices.Clone(p.parts[part]))
	if len(told) < 2 || (told[len(told)-1]-told[0])*100 < share*p.total {
		p.t.Errorf("%q was told as %d of %d", part, told, p.total)
		return
	}
	for i, done := range told[1:] {
		if (done-told[i])*10 > p.total {
			p.t.Errorf("%q went from %d to %d of %d at once", part, told[i], done, p.total)
		}
	}
}

// TestCompactTellsOfItsCheck: the copy is read, and that is told as it goes on.
func TestCompactTellsOfItsCheck(t *testing.T) {
	path := largeFile(t)
	p := newPasses(t)
	if _, err := recall.CompactStepwise(path, p.tell, func(step string) error {
		p.part = step
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	p.end()
	p.check("", 15)        // the file is read and checked before it is opened
	p.check("compare", 40) // and so is the copy
}

// TestCompactOfNothing: a file to which nothing was committed has an end, too.
func TestCompactOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p := newPasses(t)
	if _, err := recall.Compact(t.Context(), path, p.tell); err != nil {
		t.Fatal(err)
	}
	p.end()
}

// openable tells whether a file is whole and no process writes it.
func openable(path string) bool {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Nanosecond})
	if err != nil {
		return false
	}
	return db.Close() == nil
}

// TestSalvageTellsOfItsCheck: the new file is checked, and that is told as it goes
// on, and can be ended.
func TestSalvageTellsOfItsCheck(t *testing.T) {
	path := largeFile(t)
	to := path + ".new"
	p := newPasses(t)
	tell := func(done, total int64) {
		p.part = "copy"
		if openable(to) {
			p.part = "check"
		}
		p.tell(done, total)
	}
	if _, err := recall.Salvage(t.Context(), path, to, tell); err != nil {
		t.Fatal(err)
	}
	p.end()
	p.check("check", 50)
	if err := os.Remove(to); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := recall.Salvage(ctx, path, to, func(int64, int64) {
		if openable(to) {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended in the check: %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file that was not checked: %v", err)
	}
}

// TestCheckTellsOfBuilding: what an open would build is a third of the work.
func TestCheckTellsOfBuilding(t *testing.T) {
	path := largeFile(t)
	p := newPasses(t)
	if _, err := recall.Check(t.Context(), path, p.tell); err != nil {
		t.Fatal(err)
	}
	p.end()
	last := 0
	for _, done := range slices.Compact(p.parts[""]) {
		if done*3 > p.total*2 && done < p.total {
			last++
		}
	}
	if last < 2 {
		t.Errorf("of the last third only %d steps were told: %d of %d", last, p.parts[""], p.total)
	}
}
