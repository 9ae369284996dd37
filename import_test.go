package recall_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/recallmq/recall"
)

// foreignMessages are n that another engine has had.
func foreignMessages(n int) (list []recall.Message) {
	at := storyBase.Add(-24 * time.Hour)
	for i := range n {
		var id ulid.ULID
		_ = id.SetTime(uint64(at.UnixMilli())) // fails only after the year 10889
		copy(id[6:], fmt.Sprintf("%010d", i))
		list = append(list, recall.Message{
			ID: recall.MessageID("msg_" + id.String()), URL: "https://api.test/", Method: "POST", Retries: recall.Retries(1),
			CreatedAt: at, DueAt: storyBase.Add(time.Hour), Labels: []string{fmt.Sprint("l", i%10)}, Body: []byte("body"),
		})
	}
	return list
}

func openForImport(t *testing.T, path string) recall.Engine {
	t.Helper()
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger, UndoWindow: -1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func checkFormatOf(t *testing.T, path string, version int) {
	t.Helper()
	report, err := recall.Check(t.Context(), path, nil)
	if err != nil || !report.OK() || report.Format != version {
		t.Errorf("got version %d, %v, %v, want %d", report.Format, report.Findings, err, version)
	}
}

// TestImportedFile follows imported ids through what is done with a file: the sweep of
// segments in which little lives, a restart, compaction, salvage, a backup.
func TestImportedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "q.db")
	e := openForImport(t, path)
	if _, err := e.Insert(t.Context(), foreignMessages(1), storyBase); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	checkFormatOf(t, path, 4) // older versions read it

	e = openForImport(t, path)
	msgs := foreignMessages(9000)
	if _, err := e.(recall.Importer).Import(t.Context(), recall.Import{Messages: msgs, Now: storyBase}); err != nil {
		t.Fatal(err)
	}
	var left []recall.Message
	for l := range 9 {
		if _, err := e.CancelMatching(t.Context(), recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{fmt.Sprint("l", l)}}, Now: storyBase}); err != nil {
			t.Fatal(err)
		}
	}
	for i := 9; i < len(msgs); i += 10 {
		left = append(left, msgs[i])
	}
	for range 200 {
		if _, err := e.Maintain(t.Context(), storyBase.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	wantImported(t, e, left, msgs[0].ID)
	backup := filepath.Join(dir, "copy.db")
	out, err := os.Create(backup)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.(recall.Backuper).Backup(t.Context(), out)
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if report, err := recall.Compact(t.Context(), path, nil); err != nil {
		t.Fatal(report, err)
	}
	saved := filepath.Join(dir, "saved.db")
	if report, err := recall.Salvage(t.Context(), path, saved, nil); err != nil || !report.Complete() {
		t.Fatal(report, err)
	}
	for _, file := range []string{path, backup, saved} {
		checkFormatOf(t, file, 5)
		e := openForImport(t, file)
		wantImported(t, e, left, msgs[0].ID)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// wantImported checks that messages are known by their ids, and one is not.
func wantImported(t *testing.T, e recall.Engine, left []recall.Message, gone recall.MessageID) {
	t.Helper()
	list, err := e.List(t.Context(), recall.Filter{Labels: []string{"l9"}}, "", 10_000, storyBase)
	if err != nil || len(list) != len(left) {
		t.Fatalf("got %d messages, %v, want %d", len(list), err, len(left))
	}
	for i := range list {
		if list[i].ID != left[i].ID {
			t.Fatalf("message %d is %s, want %s", i, list[i].ID, left[i].ID)
		}
	}
	for _, m := range []recall.Message{left[0], left[len(left)/2], left[len(left)-1]} {
		if got, err := e.Get(t.Context(), m.ID, storyBase); err != nil || got.ID != m.ID || string(got.Body) != "body" {
			t.Errorf("got %+v, %v", got, err)
		}
	}
	if _, err := e.Get(t.Context(), gone, storyBase); !errors.Is(err, recall.ErrNotFound) {
		t.Errorf("got %v for a message that is gone", err)
	}
}
