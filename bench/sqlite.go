package main

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/bench/peer"
)

const (
	sqliteDelete = `DELETE FROM messages WHERE `
	sqliteUpdate = `UPDATE messages SET state = 'cancelled' WHERE state = 'pending' AND `
)

// noCheckpoints: they are made when the benchmark says so, outside of every
// answer; the default would have commits make them.
const noCheckpoints = "wal_autocheckpoint(0)"

// openSQLite opens one connection and refuses one that would not sync.
func openSQLite(path string, pragmas ...string) (*sql.DB, error) {
	db, err := peer.OpenSQLite(path, append([]string{noCheckpoints}, pragmas...)...)
	if err != nil {
		return nil, err
	}
	if err := checkSQLite(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkSQLite also wants the checkpoints where they belong.
func checkSQLite(db *sql.DB) error {
	var pages int
	if err := errors.Join(peer.CheckSQLite(db), db.QueryRow("PRAGMA wal_autocheckpoint").Scan(&pages)); err != nil {
		return err
	}
	if pages != 0 {
		return fmt.Errorf("SQLite makes a checkpoint after %d pages: it would be in an answer", pages)
	}
	return nil
}

// loadSQLite fills a new file with the same messages as Recall's.
func (d *scaleData) loadSQLite(path string) error {
	db, err := openSQLite(path, "cache_size(-524288)") // just to be done sooner
	if err != nil {
		return err
	}
	steps := []func() error{
		func() error { _, err := db.Exec(peer.SQLiteTable); return err },
		func() error { return d.insertAll(db) },
		func() error {
			for _, index := range peer.SQLiteIndexes {
				if _, err := db.Exec(index); err != nil {
					return err
				}
			}
			_, err := db.Exec("ANALYZE")
			return err
		},
		func() error { return checkpoint(db) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

func (d *scaleData) insertAll(db *sql.DB) error {
	const group = 10 // stretches in a commit
	for k := 0; k < stretches; k += group {
		err := inSQLite(db, func(insert *sql.Stmt) error {
			for j := k; j < k+group; j++ {
				for i, end := d.stretch(j, j+1); i < end; i++ {
					if err := insertRow(insert, d.shape.message(i), d.created[j]); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inSQLite runs fn, which inserts, in a transaction and commits it.
func inSQLite(db *sql.DB, fn func(insert *sql.Stmt) error) error {
	return peer.InSQLite(db, func(tx *sql.Tx) error {
		insert, err := tx.Prepare(peer.SQLiteInsert)
		if err != nil {
			return err
		}
		return errors.Join(fn(insert), insert.Close())
	})
}

func insertRow(insert *sql.Stmt, m recall.Message, created time.Time) error {
	var labels [2]string
	copy(labels[:], m.Labels)
	due := m.NotBefore
	if due.IsZero() {
		due = created
	}
	_, err := insert.Exec(created.UnixMilli(), due.UnixMilli(), m.URL, m.Queue, m.Topic, m.ScheduleID, m.CallerIP, labels[0], labels[1], m.Body)
	return err
}

// checkpoint moves the write-ahead log into the file and empties it.
func checkpoint(db *sql.DB) error {
	var busy, frames, moved int
	err := db.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	if err == nil && busy != 0 {
		err = errors.New("SQLite could not finish a checkpoint")
	}
	return err
}

// sqliteWhere says in SQL what a filter says. A label is looked for in the one
// column where it can be.
func sqliteWhere(f recall.Filter) (where string, args []any) {
	var terms []string
	among := func(column string, values []string) {
		if len(values) == 0 {
			return
		}
		terms = append(terms, column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")")
		for _, v := range values {
			args = append(args, v)
		}
	}
	among("queue", f.Queues)
	among("ip", f.CallerIPs)
	if len(f.Labels) > 0 && slices.Contains(labelNames, f.Labels[0]) {
		among("label", f.Labels)
	} else {
		among("mark", f.Labels)
	}
	if !f.From.IsZero() {
		terms, args = append(terms, "created_at BETWEEN ? AND ?"), append(args, f.From.UnixMilli(), f.To.UnixMilli())
	}
	return strings.Join(terms, " AND "), args
}

// sqliteQueue is a copy of the file in use: a connection to cancel with, and
// one each for the publisher and the worker.
type sqliteQueue struct {
	path                     string
	statement                string // that cancels
	cancels, publishes, work *sql.DB
	held                     []peer.SQLiteClaimed // claimed and handled, not yet finished
	refused                  atomic.Int64
}

func openSQLiteQueue(path, statement string) (*sqliteQueue, error) {
	q := &sqliteQueue{path: path, statement: statement}
	for _, db := range []**sql.DB{&q.cancels, &q.publishes, &q.work} {
		var err error
		if *db, err = openSQLite(path); err != nil {
			return nil, errors.Join(err, q.close())
		}
	}
	return q, nil
}

func (q *sqliteQueue) close() error {
	var errs []error
	for _, db := range []*sql.DB{q.cancels, q.publishes, q.work} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		os.Remove(q.path + suffix)
	}
	return errors.Join(errs...)
}

// patiently repeats what SQLite refuses after its busy timeout: for whoever
// waits it is one wait.
func (q *sqliteQueue) patiently(fn func() error) error {
	const busy = 5 // SQLITE_BUSY, the low byte of a code
	for deadline := time.Now().Add(patience); ; {
		err := fn()
		var refused *sqlite.Error
		if !errors.As(err, &refused) || refused.Code()&0xff != busy || time.Now().After(deadline) {
			return err
		}
		q.refused.Add(1)
	}
}

func (q *sqliteQueue) cancel(f recall.Filter) (n int, err error) {
	where, args := sqliteWhere(f)
	err = q.patiently(func() error {
		result, err := q.cancels.Exec(q.statement+where, args...)
		if err != nil {
			return err
		}
		affected, err := result.RowsAffected()
		n = int(affected)
		return err
	})
	return n, err
}

func (q *sqliteQueue) insert(msgs ...recall.Message) error {
	return q.patiently(func() error {
		return inSQLite(q.publishes, func(insert *sql.Stmt) error {
			for _, m := range msgs {
				if err := insertRow(insert, m, time.Now()); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (q *sqliteQueue) publish(m recall.Message) error { return q.insert(m) }

// prepare leaves an empty log behind.
func (q *sqliteQueue) prepare(msgs []recall.Message) error {
	if len(msgs) > 0 {
		if err := q.insert(msgs...); err != nil {
			return err
		}
	}
	return checkpoint(q.cancels)
}

// deliver starts a worker that claims a few messages at a time and finishes
// them with the next claim, in one commit.
func (q *sqliteQueue) deliver(t *traffic) error {
	t.repeat(func(int) error {
		from := t.now()
		if err := q.patiently(q.turn); err != nil {
			return err
		}
		t.waited(span{from, t.now()})
		time.Sleep(time.Duration(len(q.held)) * pace)
		return nil
	})
	return nil
}

func (q *sqliteQueue) turn() error {
	const few = 10
	var claimed []peer.SQLiteClaimed
	err := peer.InSQLite(q.work, func(tx *sql.Tx) (err error) {
		for _, c := range q.held {
			if _, err := tx.Exec(peer.SQLiteFinish, c.ID); err != nil {
				return err
			}
		}
		claimed, err = peer.ClaimSQLite(tx, few)
		return err
	})
	if err != nil {
		return err
	}
	q.held = claimed
	return nil
}

// afterwork is what a commit leaves for later: the checkpoint.
func (q *sqliteQueue) afterwork() (time.Time, error) {
	err := checkpoint(q.cancels)
	return time.Now(), err
}

// size is that of the file and its log.
func (q *sqliteQueue) size() (n int64) {
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(q.path + suffix); err == nil {
			n += info.Size()
		}
	}
	return n
}

// due returns how many messages wait for the worker.
func (q *sqliteQueue) due() (n int, err error) {
	err = q.cancels.QueryRow(`SELECT count(*) FROM messages WHERE state = 'pending' AND due <= ?`, time.Now().UnixMilli()).Scan(&n)
	return n, err
}

// sqliteVersion is for the report.
func sqliteVersion(path string) (version string, err error) {
	db, err := openSQLite(path)
	if err != nil {
		return "", err
	}
	err = db.QueryRow("SELECT sqlite_version()").Scan(&version)
	return version, errors.Join(err, db.Close())
}
