package recall_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// openCopy writes a copy to a file, opens it, and checks it at the end of the
// test.
func openCopy(t *testing.T, copied []byte) recall.Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(path, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(recall.CheckInvariants(e, path), e.Close()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// TestBackupWhileBusy takes copies while messages are published and cancelled.
// Each has what was acknowledged before it began, all or nothing of each
// cancellation, and nothing that was published after it.
func TestBackupWhileBusy(t *testing.T) {
	const publishers, each, copies = 4, 60, 5
	path := filepath.Join(t.TempDir(), "q.db")
	b, err := recall.Open(path, &recall.Options{NoDispatch: true, Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, b, context.Background())
	var mu sync.Mutex
	var acknowledged []recall.MessageID // and not to be cancelled
	var busy sync.WaitGroup
	for p := range publishers {
		busy.Go(func() {
			for n := range each {
				batch := fmt.Sprintf("batch-%d-%d", p, n)
				msgs := make([]recall.Message, 20)
				for i := range msgs {
					msgs[i] = recall.Message{URL: "https://a.test/x", Delay: time.Hour, Labels: []string{batch}}
				}
				kept, err := b.Publish(context.Background(), recall.Message{URL: "https://a.test/kept", Delay: time.Hour})
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, kept.ID)
				mu.Unlock()
				if _, err := b.PublishBatch(context.Background(), msgs); err != nil {
					t.Error(err)
				}
				if _, err := b.CancelMatching(context.Background(), recall.Filter{Labels: []string{batch}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range copies {
		mu.Lock()
		before := slices.Clone(acknowledged)
		mu.Unlock()
		var copied bytes.Buffer
		n, err := b.Backup(context.Background(), &copied)
		if err != nil || n != int64(copied.Len()) {
			t.Fatalf("Backup: got %d of %d bytes, %v", n, copied.Len(), err)
		}
		checkBusyCopy(t, openCopy(t, copied.Bytes()), before, publishers*each)
	}
	busy.Wait()
}

func checkBusyCopy(t *testing.T, e recall.Engine, acknowledged []recall.MessageID, batches int) {
	t.Helper()
	for _, id := range acknowledged {
		if _, err := e.Get(t.Context(), id, time.Now()); err != nil {
			t.Fatalf("%s was published before the backup: %v", id, err)
		}
	}
	list, err := e.List(t.Context(), recall.Filter{URLs: []string{"https://a.test/x"}}, "", batches*20, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	batch := map[string]int{}
	for _, m := range list {
		batch[m.Labels[0]]++
	}
	for label, n := range batch {
		if n != 20 {
			t.Errorf("%d messages of %s are in the copy, want 20 or none", n, label)
		}
	}
}

// TestBackupKeepsAll: ids, dead letters, schedules, the program's data and what
// can be undone are in the copy.
func TestBackupKeepsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "q.db")
	full := fillFile(t, path)
	b, err := recall.Open(path, &recall.Options{NoDispatch: true, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, b, context.Background())
	var copied bytes.Buffer
	if _, err := b.Backup(t.Context(), &copied); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "copy.db")
	if err := os.WriteFile(to, copied.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	full.check(t, to)
}

// TestBackupOfASlowWriter: publishing goes on, and reuses pages, while w takes its
// time, and nothing of the temporary file is left.
func TestBackupOfASlowWriter(t *testing.T) {
	dir := t.TempDir()
	b, err := recall.Open(filepath.Join(dir, "q.db"), &recall.Options{NoDispatch: true, Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, b, context.Background())
	var copied bytes.Buffer
	published := 0
	_, err = b.Backup(t.Context(), writerFunc(func(p []byte) (int, error) {
		for range 20 {
			publish(t, b, recall.Message{URL: "https://a.test/x", Delay: time.Hour})
			published++
		}
		return copied.Write(p)
	}))
	if err != nil {
		t.Fatal(err)
	}
	if published == 0 {
		t.Error("nothing was published meanwhile")
	}
	if n, err := openCopy(t, copied.Bytes()).Count(t.Context(), recall.Filter{}, time.Now()); err != nil || n.Pending != 0 {
		t.Errorf("got %+v, %v, want what was there when it began: nothing", n, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".recall-backup-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestBackupFails(t *testing.T) {
	broken := errors.New("broken")
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &recall.Options{NoDispatch: true, Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ctx  context.Context
		w    io.Writer
		want error
	}{
		"a writer that fails":                       {t.Context(), writerFunc(func([]byte) (int, error) { return 0, broken }), broken},
		"a writer that takes less than it is given": {t.Context(), writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil }), io.ErrShortWrite},
		"a context that is done":                    {done(), io.Discard, context.Canceled},
		"no writer":                                 {t.Context(), nil, recall.ErrInvalid},
	} {
		if _, err := b.Backup(c.ctx, c.w); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	publish(t, b, recall.Message{URL: "https://a.test/x", Body: make([]byte, 1<<20)})
	ctx, cancel := context.WithCancel(t.Context())
	n, err := b.Backup(ctx, writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil }))
	if stats := b.Stats(); !errors.Is(err, context.Canceled) || n == 0 || n >= stats.FileBytes {
		t.Errorf("a context that ends meanwhile: got %d bytes, %v", n, err)
	}
	closeNow(t, b, t.Context())
	if _, err := b.Backup(t.Context(), io.Discard); !errors.Is(err, recall.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
	other := newBroker(t, &recall.Options{NoDispatch: true})
	if _, err := other.Backup(t.Context(), io.Discard); !errors.Is(err, recall.ErrUnsupported) {
		t.Errorf("on %T: got %v, want ErrUnsupported", enginetest.NewReference(), err)
	}
}
