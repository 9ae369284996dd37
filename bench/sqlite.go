package main

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"

	"github.com/recallmq/recall"
)

// sqliteTable is a queue as one would write it by hand. A message has one of
// the ten common labels and perhaps a rare one: a column each is less work for
// SQLite than a table of labels beside this one.
const sqliteTable = `CREATE TABLE messages (
	id         INTEGER PRIMARY KEY,
	state      TEXT    NOT NULL DEFAULT 'pending',
	created_at INTEGER NOT NULL,
	due        INTEGER NOT NULL,
	attempts   INTEGER NOT NULL DEFAULT 0,
	url        TEXT    NOT NULL,
	queue      TEXT,
	topic      TEXT,
	schedule   TEXT,
	ip         TEXT,
	label      TEXT,
	mark       TEXT,
	body       BLOB    NOT NULL
)`

// sqliteIndexes are made after the rows, which leaves them as compact as they
// can be.
var sqliteIndexes = []string{
	`CREATE INDEX by_queue ON messages (queue)`,
	`CREATE INDEX by_url ON messages (url)`,
	`CREATE INDEX by_topic ON messages (topic)`,
	`CREATE INDEX by_schedule ON messages (schedule)`,
	`CREATE INDEX by_ip ON messages (ip)`,
	`CREATE INDEX by_created ON messages (created_at)`,
	`CREATE INDEX by_label ON messages (label)`,
	`CREATE INDEX by_mark ON messages (mark) WHERE mark IS NOT NULL`,
	`CREATE INDEX by_due ON messages (due, id) WHERE state = 'pending'`,
}

const (
	sqliteInsert = `INSERT INTO messages (created_at, due, url, queue, topic, schedule, ip, label, mark, body)
		VALUES (?, ?, ?, nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), ?)`
	sqliteClaim = `UPDATE messages SET state = 'in flight', attempts = attempts + 1 WHERE id IN
		(SELECT id FROM messages WHERE state = 'pending' AND due <= ? ORDER BY due, id LIMIT ?) RETURNING id, url, body`
	sqliteFinish = `DELETE FROM messages WHERE id = ?`

	sqliteDelete = `DELETE FROM messages WHERE `
	sqliteUpdate = `UPDATE messages SET state = 'cancelled' WHERE state = 'pending' AND `
)

// sqlitePragmas: a commit is synced before it returns. Checkpoints are made
// when the benchmark says so, outside of every answer; the default would have
// commits make them. On Darwin only fullfsync reaches the disk, as Go's Sync
// does there.
var sqlitePragmas = []string{
	"journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
	"busy_timeout(5000)", "cache_size(-65536)", "wal_autocheckpoint(0)",
}

// openSQLite opens one connection and refuses one that would not sync.
func openSQLite(path string, pragmas ...string) (*sql.DB, error) {
	settings := url.Values{"_txlock": {"immediate"}, "_pragma": append(slices.Clone(sqlitePragmas), pragmas...)}
	db, err := sql.Open("sqlite", "file:"+path+"?"+settings.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1) // for good: pragmas belong to the connection
	if err := checkSQLite(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkSQLite reads back what was asked for: SQLite answers a pragma that it
// does not follow with silence.
func checkSQLite(db *sql.DB) error {
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "wal_autocheckpoint": "0"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("SQLite has %s = %s, not %s: its commits would not compare", pragma, got, want)
		}
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
		func() error { _, err := db.Exec(sqliteTable); return err },
		func() error { return d.insertAll(db) },
		func() error {
			for _, index := range sqliteIndexes {
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
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	insert, err := tx.Prepare(sqliteInsert)
	if err == nil {
		err = errors.Join(fn(insert), insert.Close())
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
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
	held                     []int64 // claimed and handled, not yet finished
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
	var claimed []int64
	tx, err := q.work.Begin()
	if err != nil {
		return err
	}
	for _, id := range q.held {
		if _, err := tx.Exec(sqliteFinish, id); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if claimed, err = claim(tx, few); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	q.held = claimed
	return nil
}

func claim(tx *sql.Tx, most int) (ids []int64, err error) {
	rows, err := tx.Query(sqliteClaim, time.Now().UnixMilli(), most)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			id   int64
			to   string
			body []byte
		)
		if err := rows.Scan(&id, &to, &body); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
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
