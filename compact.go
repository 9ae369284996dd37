package recall

import (
	"context"
	"fmt"

	"github.com/recallmq/recall/store"
)

// CompactReport says what [Compact] has done.
type CompactReport struct {
	BytesBefore int64 // size of the file
	BytesAfter  int64
	Dropped     int // messages that had been delivered, cancelled or dropped, and whose rows were still there
}

// String returns the report as a line for a person.
func (r CompactReport) String() string {
	return fmt.Sprintf("%d bytes before, %d bytes after; %d messages that were gone took room", r.BytesBefore, r.BytesAfter, r.Dropped)
}

// Compact makes the file at path, which nobody may have open, as small as it can
// be: a copy without free pages, and without the rows of messages that are gone.
// Everything else stays: ids and numbering, states, dead letters, schedules, the
// log, what can still be undone, and the program's own buckets.
//
// The copy is made beside the file, in <path>.compacting, so it needs room for
// both. It gets the file's permissions and owner, is synced, read back and compared,
// and takes its place by a rename, after which the folder is synced: it is durable when
// Compact returns. A crash leaves the old file or the new one, whole; an unfinished
// copy is removed by the next call. A link is followed. Where the file is held by
// nobody a process may open it during the call: it gets [ErrInUse].
//
// Errors are those of [Open], and that of ctx, which counts until the rename; then
// the file is as it was. But if syncing the folder fails, the new file may be there
// or, after a crash of the machine, the old one. A file in which something is damaged
// is [ErrCorrupt]: see [Salvage].
func Compact(ctx context.Context, path string, progress Progress) (CompactReport, error) {
	return compact(ctx, path, progress, store.CompactOptions{})
}

func compact(ctx context.Context, path string, progress Progress, o store.CompactOptions) (CompactReport, error) {
	r, err := store.Compact(ctx, path, o, progress)
	if err != nil {
		return CompactReport{}, fmt.Errorf("recall: compact %s: %w", path, err)
	}
	return CompactReport{BytesBefore: r.Before, BytesAfter: r.After, Dropped: r.Dropped}, nil
}
