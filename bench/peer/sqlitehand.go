package peer

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

const (
	sqliteConnection = "modernc.org/sqlite, WAL, synchronous=FULL (read back), one connection, cache 64 MB"
	byDelete         = "one DELETE … WHERE label"
	bySelect         = "SELECT count(*) … WHERE label"
)

// SQLiteByHand is a table with a transaction for each call.
var SQLiteByHand = &Peer{
	Name:     "SQLite by hand",
	Settings: sqliteConnection + "; an index per column; worker claims 100 and finishes 100 in one commit",
	CancelBy: byDelete,
	CountBy:  bySelect,
	Open: func(_ context.Context, dir string, _ int) (Queue, error) {
		q, err := openSQLiteHand(dir)
		if err != nil {
			return nil, err
		}
		return q, nil
	},
}

// SQLiteGrouped has the thirty lines more that let publishers share a commit.
var SQLiteGrouped = &Peer{
	Name:     "SQLite by hand, group commit",
	Settings: "the same, and one goroutine commits all publishes that wait in a channel",
	CancelBy: byDelete,
	CountBy:  bySelect,
	Open:     openSQLiteGrouped,
}

type sqliteHand struct {
	dir    string
	db     *sql.DB
	insert *sql.Stmt
	finish *sql.Stmt
}

func openSQLiteHand(dir string) (*sqliteHand, error) {
	db, err := OpenSQLite(filepath.Join(dir, "queue.db"))
	if err != nil {
		return nil, err
	}
	q := &sqliteHand{dir: dir, db: db}
	if err := errors.Join(q.migrate(), q.prepare()); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return q, nil
}

func (q *sqliteHand) migrate() error {
	var tables int
	if err := q.db.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'messages'`).Scan(&tables); err != nil || tables > 0 {
		return err
	}
	return InSQLite(q.db, func(tx *sql.Tx) error {
		for _, statement := range append([]string{SQLiteTable}, SQLiteIndexes...) {
			if _, err := tx.Exec(statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func (q *sqliteHand) prepare() (err error) {
	if q.insert, err = q.db.Prepare(SQLiteInsert); err != nil {
		return err
	}
	q.finish, err = q.db.Prepare(SQLiteFinish)
	return err
}

func (q *sqliteHand) Publish(_ context.Context, m Message) error {
	return q.PublishBatch(context.Background(), []Message{m})
}

func (q *sqliteHand) PublishBatch(_ context.Context, msgs []Message) error {
	return InSQLite(q.db, func(tx *sql.Tx) error {
		insert := tx.Stmt(q.insert)
		for _, m := range msgs {
			if err := insertSQLite(insert, m); err != nil {
				return err
			}
		}
		return nil
	})
}

func insertSQLite(insert *sql.Stmt, m Message) error {
	now := time.Now()
	due := m.Due
	if due.IsZero() {
		due = now
	}
	_, err := insert.Exec(now.UnixMilli(), due.UnixMilli(), m.URL, "", m.Topic, m.Schedule, m.IP, m.Label, "", m.Body)
	return err
}

// sqliteClaims is how many a worker takes at a time.
const sqliteClaims = 100

// Deliver has one worker: SQLite has one writer. It forgets what it handled in
// the commit that claims the next.
func (q *sqliteHand) Deliver(h Handler) (func() error, error) {
	var held []SQLiteClaimed
	turn := func() (bool, error) {
		claimed, err := q.turn(held)
		if err != nil {
			return false, err
		}
		held = claimed
		for _, c := range held {
			h(c.Body)
		}
		return len(held) > 0, nil
	}
	stop := startWorkers(1, func(context.Context, int) (bool, error) { return turn() })
	return func() error {
		if err := stop(); err != nil {
			return err
		}
		return q.forget(held)
	}, nil
}

func (q *sqliteHand) turn(held []SQLiteClaimed) (claimed []SQLiteClaimed, err error) {
	err = InSQLite(q.db, func(tx *sql.Tx) error {
		if err := q.finishAll(tx, held); err != nil {
			return err
		}
		claimed, err = ClaimSQLite(tx, sqliteClaims)
		return err
	})
	return claimed, err
}

func (q *sqliteHand) forget(held []SQLiteClaimed) error {
	return InSQLite(q.db, func(tx *sql.Tx) error { return q.finishAll(tx, held) })
}

func (q *sqliteHand) finishAll(tx *sql.Tx, held []SQLiteClaimed) error {
	finish := tx.Stmt(q.finish)
	for _, c := range held {
		if _, err := finish.Exec(c.ID); err != nil {
			return err
		}
	}
	return nil
}

func (q *sqliteHand) Cancel(_ context.Context, label string) (int, error) {
	result, err := q.db.Exec(`DELETE FROM messages WHERE label = ? AND state = 'pending'`, label)
	if err != nil {
		return 0, err
	}
	n, err := result.RowsAffected()
	return int(n), err
}

func (q *sqliteHand) Count(_ context.Context, label string) (n int, err error) {
	err = q.db.QueryRow(`SELECT count(*) FROM messages WHERE label = ? AND state = 'pending'`, label).Scan(&n)
	return n, err
}

// Quiet lets SQLite choose its plans with the rows in view.
func (q *sqliteHand) Quiet(context.Context) error {
	_, err := q.db.Exec("ANALYZE")
	return err
}

func (q *sqliteHand) Size() (int64, error) { return FolderSize(q.dir) }
func (q *sqliteHand) Close() error         { return q.db.Close() }

// sqliteGrouped commits what waits, and then what has come meanwhile.
type sqliteGrouped struct {
	*sqliteHand
	waiting chan publishing
	closing sync.Once
	done    chan struct{}
}

type publishing struct {
	m    Message
	done chan<- error
}

func openSQLiteGrouped(_ context.Context, dir string, publishers int) (Queue, error) {
	hand, err := openSQLiteHand(dir)
	if err != nil {
		return nil, err
	}
	q := &sqliteGrouped{sqliteHand: hand, waiting: make(chan publishing, max(publishers, 1)), done: make(chan struct{})}
	go q.commitAll()
	return q, nil
}

func (q *sqliteGrouped) Publish(_ context.Context, m Message) error {
	done := make(chan error, 1)
	q.waiting <- publishing{m, done}
	return <-done
}

func (q *sqliteGrouped) commitAll() {
	defer close(q.done)
	var group []publishing
	var msgs []Message
	for first := range q.waiting {
		group, msgs = append(group[:0], first), append(msgs[:0], first.m)
		for q.more() {
			next := <-q.waiting
			group, msgs = append(group, next), append(msgs, next.m)
		}
		err := q.PublishBatch(context.Background(), msgs)
		for _, p := range group {
			p.done <- err
		}
	}
}

// more lets those join who are about to publish, as Recall does.
func (q *sqliteGrouped) more() bool {
	if len(q.waiting) == 0 {
		runtime.Gosched()
	}
	return len(q.waiting) > 0
}

// Close is called when nobody publishes any more.
func (q *sqliteGrouped) Close() error {
	q.closing.Do(func() { close(q.waiting) })
	<-q.done
	return q.sqliteHand.Close()
}
