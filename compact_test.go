package recall_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestCompact: everything is there afterwards, in less room.
func TestCompact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	steps := &progressCheck{t: t}
	r, err := recall.Compact(t.Context(), path, steps.tell)
	if err != nil {
		t.Fatal(err)
	}
	steps.end()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if r.BytesAfter != info.Size() || r.BytesAfter >= r.BytesBefore {
		t.Errorf("got %+v, the file has %d bytes", r, info.Size())
	}
	if info.Mode().Perm() != 0o666 {
		t.Errorf("its mode is %v", info.Mode())
	}
	checkSound(t, path)
	full.check(t, path)
	checkSound(t, path)
}

// checkSound is for a file in which nothing may be wrong.
func checkSound(t *testing.T, path string) recall.CheckReport {
	t.Helper()
	r, err := recall.Check(t.Context(), path, nil)
	if err != nil || !r.OK() {
		t.Errorf("Check: %v\n%v", err, r)
	}
	return r
}

// progressCheck makes sure that what is told rises to its end.
type progressCheck struct {
	t           *testing.T
	done, total int64
	calls       int
}

func (p *progressCheck) tell(done, total int64) {
	if p.calls++; done < p.done || done > total || p.calls > 1 && total != p.total {
		p.t.Errorf("progress went from %d of %d to %d of %d", p.done, p.total, done, total)
	}
	p.done, p.total = done, total
}

func (p *progressCheck) end() {
	if p.calls == 0 || p.done != p.total {
		p.t.Errorf("progress ended at %d of %d after %d calls", p.done, p.total, p.calls)
	}
}

// TestCompactDropsWhatIsGone: rows of delivered messages go, though no sweep has
// come to them, and a cancellation that is half folded is whole.
func TestCompactDropsWhatIsGone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger, UndoWindow: -1})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	msgs := make([]recall.Message, 3000)
	for i := range msgs {
		msgs[i] = storyMessage("m", now)
		msgs[i].Body = make([]byte, 1000)
		msgs[i].Labels = []string{[]string{"a", "b"}[i%2]}
	}
	receipts, err := e.Insert(t.Context(), msgs, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.CancelMatching(t.Context(), recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"a"}}, Now: now}); err != nil {
		t.Fatal(err)
	}
	for next := now; !next.After(now) && !next.IsZero(); {
		if next, err = e.Maintain(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(recall.FoldAll(e), e.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := recall.Compact(t.Context(), path, nil)
	if err != nil || r.Dropped != 1500 {
		t.Errorf("got %+v, %v, want 1500 dropped", r, err)
	}
	if got := checkSound(t, path); got.Live() != 1500 || got.Rows != 1500 {
		t.Errorf("got %+v", got)
	}
	b := openQuiet(t, path)
	defer closeNow(t, b, context.Background())
	for i, r := range receipts {
		if _, err := b.Get(t.Context(), r.ID); (err == nil) != (i%2 == 1) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}

// compactSteps returns the names of the steps.
func compactSteps(t *testing.T) (names []string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.db")
	fillFile(t, path)
	if _, err := recall.CompactStepwise(path, nil, func(step string) error {
		names = append(names, step)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(names) < 10 {
		t.Fatalf("there are only the steps %q", names)
	}
	return names
}

// TestCompactFailsAtEveryStep: up to the rename the file stays as it is, byte for
// byte, and nothing is left beside it.
func TestCompactFailsAtEveryStep(t *testing.T) {
	broken := errors.New("broken")
	base := filepath.Join(t.TempDir(), "base.db")
	full := fillFile(t, base)
	for _, failing := range compactSteps(t) {
		dir := t.TempDir()
		path := filepath.Join(dir, "q.db")
		copyFile(t, base, path)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = recall.CompactStepwise(path, nil, func(step string) error {
			if step == failing {
				return broken
			}
			return nil
		})
		if !errors.Is(err, broken) {
			t.Errorf("%s: got %v", failing, err)
		}
		if after, err := os.ReadFile(path); failing != "sync folder" && (err != nil || !bytes.Equal(before, after)) {
			t.Errorf("%s: the file was changed (%v)", failing, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); !slices.Equal(left, []string{path}) {
			t.Errorf("%s: left behind: %q", failing, left)
		}
		full.check(t, path)
	}
}

const (
	compactFile = "RECALL_COMPACT_FILE"
	compactStep = "RECALL_COMPACT_STEP"
)

// TestCompactKilledAtEveryStep kills a process before each step. The file is whole,
// and the next call cleans up.
func TestCompactKilledAtEveryStep(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	base := filepath.Join(t.TempDir(), "base.db")
	full := fillFile(t, base)
	for _, step := range compactSteps(t) {
		dir := t.TempDir()
		path := filepath.Join(dir, "q.db")
		copyFile(t, base, path)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestCompactChild$")
		child.Env = append(os.Environ(), compactFile+"="+path, compactStep+"="+step)
		out, err := child.CombinedOutput()
		cancel()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Exited() {
			t.Fatalf("%s: the child ended by itself: %v: %s", step, err, out)
		}
		checkSound(t, path)
		if _, err := recall.Compact(t.Context(), path, nil); err != nil {
			t.Errorf("%s: Compact after the crash: %v", step, err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*")); !slices.Equal(left, []string{path}) {
			t.Errorf("%s: left behind: %q", step, left)
		}
		full.check(t, path)
	}
}

// TestCompactChild compacts, and kills itself at a step.
func TestCompactChild(t *testing.T) {
	path := os.Getenv(compactFile)
	if path == "" {
		t.Skip("a part of TestCompactKilledAtEveryStep")
	}
	_, err := recall.CompactStepwise(path, nil, func(step string) error {
		if step == os.Getenv(compactStep) {
			killSelf()
		}
		return nil
	})
	t.Fatalf("it was not killed: %v", err)
}

// TestCompactRefuses: what is no file of Recall's, or held, or damaged, stays as it
// is.
func TestCompactRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "q.db")
	if _, err := recall.Compact(t.Context(), path, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("text "), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := recall.Compact(t.Context(), text, nil); !errors.Is(err, recall.ErrForeign) {
		t.Errorf("a text: got %v", err)
	}
	b := openQuiet(t, path)
	for range 2 {
		publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour, Body: []byte("1")})
	}
	if _, err := recall.Compact(t.Context(), path, nil); !errors.Is(err, recall.ErrInUse) {
		t.Errorf("a file in use: got %v", err)
	}
	closeNow(t, b, t.Context())
	damageBody(t, path, 2)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := recall.Compact(t.Context(), path, nil); !errors.Is(err, recall.ErrCorrupt) {
		t.Errorf("a damaged file: got %v", err)
	}
	if _, err := recall.Compact(done(), path, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: got %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file was changed (%v)", err)
	}
}

// TestCompactFollowsLinks: the link stays one.
func TestCompactFollowsLinks(t *testing.T) {
	path, link := filepath.Join(t.TempDir(), "q.db"), filepath.Join(t.TempDir(), "link.db")
	full := fillFile(t, path)
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	if _, err := recall.Compact(t.Context(), link, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("it is no link any more: %v, %v", info, err)
	}
	full.check(t, path)
}
