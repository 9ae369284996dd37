package recall_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/recallmq/recall"
)

// endAtEach makes a call again and again, and ends its context at one report of
// progress after the other. It has to return the context's error and leave nothing, or
// what it returns undisturbed.
func endAtEach[R any](t *testing.T, image []byte, call func(context.Context, string, recall.Progress) (R, error)) {
	t.Helper()
	run := func(at int) (r R, left []os.DirEntry, reports int, err error) {
		dir := t.TempDir()
		path := filepath.Join(dir, "q.db")
		if err := os.WriteFile(path, image, 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r, err = call(ctx, path, func(int64, int64) {
			if reports == at {
				cancel()
			}
			reports++
		})
		left, dirErr := os.ReadDir(dir)
		if dirErr != nil {
			t.Fatal(dirErr)
		}
		return r, left, reports, err
	}
	want, _, reports, err := run(-1)
	if err != nil || reports < 4 {
		t.Fatalf("undisturbed: %d reports, %v", reports, err)
	}
	ended := 0
	for at := range reports {
		r, left, _, err := run(at)
		switch {
		case errors.Is(err, context.Canceled):
			ended++
			if len(left) != 1 {
				t.Errorf("ended at report %d of %d, it has left %v", at, reports, left)
			}
		case err != nil || !reflect.DeepEqual(r, want):
			t.Errorf("ended at report %d of %d: got %+v, %v", at, reports, r, err)
		}
	}
	if ended < reports-2 { // at the last ones all is done
		t.Errorf("%d of %d calls were ended", ended, reports)
	}
}

// TestFilesEndedAnywhere: a context that ends is never told as damage.
func TestFilesEndedAnywhere(t *testing.T) {
	f := newGoneFile(t, 3*perSegment)
	f.cancel(0, 100, true)
	image := f.image()
	t.Run("check", func(t *testing.T) {
		endAtEach(t, image, recall.Check)
	})
	t.Run("compact", func(t *testing.T) {
		endAtEach(t, image, recall.Compact)
	})
	t.Run("salvage", func(t *testing.T) {
		endAtEach(t, image, func(ctx context.Context, path string, p recall.Progress) (recall.SalvageReport, error) {
			return recall.Salvage(ctx, path, path+".new", p)
		})
	})
}
