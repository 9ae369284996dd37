//go:build !386 && !arm && !mips && !mipsle

package peer

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"

	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// RiverSQLite is River on a file.
var RiverSQLite = &Peer{
	Name:     "River, SQLite",
	Settings: riverVersion + " on " + sqliteConnection + "; " + riverSettings + "; InsertMany",
	CancelBy: riverCancel,
	CountBy:  riverCount,
	Open:     func(ctx context.Context, dir string, _ int) (Queue, error) { return openRiverSQLite(ctx, dir) },
}

// on64 are the embedded peers that are only built for 64 bits: the driver has a
// number that does not fit into fewer.
var on64 = []*Peer{RiverSQLite}

type riverSQLiteQueue struct {
	*riverQueue[*sql.Tx]
	dir string
	db  *sql.DB
}

func openRiverSQLite(ctx context.Context, dir string, pragmas ...string) (Queue, error) {
	db, err := OpenSQLite(filepath.Join(dir, "queue.db"), pragmas...)
	if err != nil {
		return nil, err
	}
	q, err := newRiver(ctx, riversqlite.New(db))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &riverSQLiteQueue{q, dir, db}, nil
}

// PublishBatch uses the plain call. The driver inserts row by row in either.
func (q *riverSQLiteQueue) PublishBatch(ctx context.Context, msgs []Message) error {
	_, err := q.client.InsertMany(ctx, riverParams(msgs))
	return err
}

func (q *riverSQLiteQueue) Size() (int64, error) { return FolderSize(q.dir) }
func (q *riverSQLiteQueue) Close() error         { return q.db.Close() }
