package recall

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// Backuper is an [Engine] that can be copied while it works, as [Broker.Backup]
// describes.
type Backuper interface {
	Backup(ctx context.Context, w io.Writer) (int64, error)
}

// Backup writes a copy of the file to w, and returns how many bytes w has taken.
// [Open] opens the copy: it has all that was durable when Backup was called –
// messages with their ids, dead letters, schedules, what can still be undone, the
// program's own buckets – as after a crash at that moment: what was in flight is
// pending. The copy is as long as the file. It is not checked on the way: [Check]
// does that.
//
// Publishing, deliveries and cancellations go on. The copy is first made in a
// temporary file in the folder of the file, which needs as much room there, and then
// given to w: while it is made, pages that commits give up are not used again, so
// the file grows by as much as is written in that time. A slow w takes no part in
// that.
//
// It ends with the error of ctx, looked at before each write, or of w, or of the
// file system; then what w has is no copy. A w that takes less than it is given
// without an error is [io.ErrShortWrite]. Whoever writes to a file has to sync it.
// Other errors: [ErrUnsupported], [ErrClosed], [ErrCorrupt]. Close waits for it. Safe for concurrent
// use.
func (b *Broker) Backup(ctx context.Context, w io.Writer) (int64, error) {
	e, err := asEngine[Backuper](b, ctx)
	if errors.Is(err, ErrUnsupported) {
		return 0, fmt.Errorf("%w: a backup is a copy of a file; this queue is in a database, which has backups of its own", err)
	}
	if err != nil {
		return 0, err
	}
	defer b.end()
	if w == nil {
		return 0, invalid("w", "it is nil")
	}
	return e.Backup(ctx, w)
}

// Backup implements [Backuper].
func (e *embedded) Backup(ctx context.Context, w io.Writer) (int64, error) {
	if err := e.checkOpen(ctx); err != nil {
		return 0, err
	}
	e.hurry(ctx)
	return e.store.Backup(ctx, w)
}
