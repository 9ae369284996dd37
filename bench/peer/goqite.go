package peer

import (
	"context"
	"database/sql"
	_ "embed"
	"path/filepath"
	"time"

	"maragu.dev/goqite"
)

// Goqite has a queue for each label: it knows no other filter.
var Goqite = &Peer{
	Name:     "goqite",
	Settings: "0.4.0 on " + sqliteConnection + "; a queue per label; 4 receivers",
	CancelBy: "receiving and deleting the label's queue, 1,000 in a transaction (it has no call for it)",
	CountBy:  "no call",
	Open:     func(_ context.Context, dir string, _ int) (Queue, error) { return openGoqite(dir) },
}

// goqiteSchema is the project's own; the program that uses it brings it.
//
//go:embed goqite.sql
var goqiteSchema string

const (
	goqiteReceivers = 4
	goqiteGroup     = 1000 // sent or cancelled in one transaction
	// goqiteTimeout is for those who received: long enough that nothing comes twice.
	goqiteTimeout = time.Minute
)

type goqiteQueue struct {
	dir    string
	db     *sql.DB
	queues map[string]*goqite.Queue
}

func openGoqite(dir string, pragmas ...string) (Queue, error) {
	db, err := OpenSQLite(filepath.Join(dir, "queue.db"), pragmas...)
	if err != nil {
		return nil, err
	}
	if err := goqiteMigrate(db); err != nil {
		db.Close()
		return nil, err
	}
	q := &goqiteQueue{dir: dir, db: db, queues: map[string]*goqite.Queue{}}
	for _, label := range Labels {
		q.queues[label] = goqite.New(goqite.NewOpts{DB: db, Name: label, Timeout: goqiteTimeout})
	}
	return q, nil
}

func goqiteMigrate(db *sql.DB) error {
	var tables int
	if err := db.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = 'goqite'`).Scan(&tables); err != nil || tables > 0 {
		return err
	}
	_, err := db.Exec(goqiteSchema)
	return err
}

func toGoqite(m Message) goqite.Message {
	var delay time.Duration
	if !m.Due.IsZero() {
		delay = max(0, time.Until(m.Due))
	}
	return goqite.Message{Body: m.Body, Delay: delay}
}

func (q *goqiteQueue) Publish(ctx context.Context, m Message) error {
	return q.queues[m.Label].Send(ctx, toGoqite(m))
}

func (q *goqiteQueue) PublishBatch(ctx context.Context, msgs []Message) error {
	return InSQLite(q.db, func(tx *sql.Tx) error {
		for _, m := range msgs {
			if err := q.queues[m.Label].SendTx(ctx, tx, toGoqite(m)); err != nil {
				return err
			}
		}
		return nil
	})
}

// Deliver has receivers that look at one queue after the other.
func (q *goqiteQueue) Deliver(h Handler) (func() error, error) {
	return startWorkers(goqiteReceivers, func(_ context.Context, worker int) (busy bool, err error) {
		for k := range Labels {
			queue := q.queues[Labels[(k+worker)%len(Labels)]]
			ctx := context.Background() // what was begun is ended
			m, err := queue.Receive(ctx)
			if err != nil {
				return false, err
			}
			if m == nil {
				continue
			}
			h(m.Body)
			if err := queue.Delete(ctx, m.ID); err != nil {
				return false, err
			}
			busy = true
		}
		return busy, nil
	}), nil
}

// Cancel can only receive what is due and delete it; what is delayed it cannot
// reach.
func (q *goqiteQueue) Cancel(ctx context.Context, label string) (total int, err error) {
	queue := q.queues[label]
	for n := goqiteGroup; n == goqiteGroup; total += n {
		err := InSQLite(q.db, func(tx *sql.Tx) (err error) {
			n, err = goqiteTake(ctx, queue, tx)
			return err
		})
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func goqiteTake(ctx context.Context, queue *goqite.Queue, tx *sql.Tx) (n int, err error) {
	for n < goqiteGroup {
		m, err := queue.ReceiveTx(ctx, tx)
		if err != nil || m == nil {
			return n, err
		}
		if err := queue.DeleteTx(ctx, tx, m.ID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (q *goqiteQueue) Count(context.Context, string) (int, error) {
	return 0, cannot("goqite has no call that counts")
}

func (q *goqiteQueue) Size() (int64, error) { return FolderSize(q.dir) }
func (q *goqiteQueue) Close() error         { return q.db.Close() }
