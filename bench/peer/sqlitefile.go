package peer

import (
	"database/sql"
	"errors"
	"net/url"
	"slices"
	"time"

	_ "modernc.org/sqlite" // the driver, in Go alone
)

// SQLiteTable is a queue as one would write it by hand. A message has one of
// the ten common labels and perhaps a rare one: a column each is less work for
// SQLite than a table of labels beside this one.
const SQLiteTable = `CREATE TABLE messages (
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

// SQLiteIndexes has one for each column that a filter can name.
var SQLiteIndexes = []string{
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

// The statements of that queue.
const (
	SQLiteInsert = `INSERT INTO messages (created_at, due, url, queue, topic, schedule, ip, label, mark, body)
		VALUES (?, ?, ?, nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), nullif(?, ''), ?)`
	SQLiteClaim = `UPDATE messages SET state = 'in flight', attempts = attempts + 1 WHERE id IN
		(SELECT id FROM messages WHERE state = 'pending' AND due <= ? ORDER BY due, id LIMIT ?) RETURNING id, url, body`
	SQLiteFinish = `DELETE FROM messages WHERE id = ?`
)

// sqlitePragmas: a commit is synced before it returns. On Darwin only fullfsync
// reaches the disk, as Go's Sync does there.
var sqlitePragmas = []string{
	"journal_mode(WAL)", "synchronous(FULL)", "fullfsync(1)", "checkpoint_fullfsync(1)",
	"busy_timeout(5000)", "cache_size(-65536)",
}

// OpenSQLite opens one connection and refuses one that would not sync. More
// pragmas follow the usual ones.
func OpenSQLite(path string, pragmas ...string) (*sql.DB, error) {
	settings := url.Values{"_txlock": {"immediate"}, "_pragma": slices.Concat(sqlitePragmas, pragmas)}
	db, err := sql.Open("sqlite", "file:"+path+"?"+settings.Encode())
	if err != nil {
		return nil, err
	}
	// One for good: SQLite has one writer, and pragmas belong to the connection.
	db.SetMaxOpenConns(1)
	db.SetMaxIdleConns(1)
	db.SetConnMaxLifetime(0)
	if err := CheckSQLite(db); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// CheckSQLite reads back what was asked for: SQLite answers a pragma that it
// does not follow with silence. One connection is one answer, so the database
// may have no more.
func CheckSQLite(db *sql.DB) error {
	if db.Stats().MaxOpenConnections != 1 {
		return errors.New("SQLite has more connections than were checked")
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2"} {
		var got string
		if err := db.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil {
			return err
		}
		if err := mustBe("SQLite", pragma, got, want); err != nil {
			return err
		}
	}
	return nil
}

// SQLiteClaimed is what a claim took.
type SQLiteClaimed struct {
	ID   int64
	Body []byte
}

// ClaimSQLite takes up to most messages that are due, for a worker.
func ClaimSQLite(tx *sql.Tx, most int) (claimed []SQLiteClaimed, err error) {
	rows, err := tx.Query(SQLiteClaim, time.Now().UnixMilli(), most)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			c  SQLiteClaimed
			to string
		)
		if err := rows.Scan(&c.ID, &to, &c.Body); err != nil {
			return nil, err
		}
		claimed = append(claimed, c)
	}
	return claimed, rows.Err()
}

// InSQLite runs fn in a transaction and commits it.
func InSQLite(db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}
