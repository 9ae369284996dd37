package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrServer is matched by a *[ServerError].
var ErrServer = errors.New("postgres: the server is not fit to keep a queue")

// ServerError says why a server cannot keep a queue. It matches [ErrServer].
type ServerError struct {
	Setting string // of the server
	Value   string // that it has
	Reason  string // why that will not do, for a person
}

// Error implements error.
func (e *ServerError) Error() string {
	return fmt.Sprintf("%v: %s is %s: %s", ErrServer, e.Setting, e.Value, e.Reason)
}

// Is reports whether target is [ErrServer].
func (e *ServerError) Is(target error) bool { return target == ErrServer }

// oldestServer is the first version whose SQL will do, as the server gives it.
const oldestServer = 150000

// server is what is asked of a server when an engine opens.
type server struct {
	version    int
	recovery   bool
	settings   map[string]string
	replicated bool // a commit waits for a standby
}

// checked are the settings that are read. One that a relative of PostgreSQL does not
// have is ”.
var checked = []string{"fsync", "full_page_writes", "synchronous_commit", "synchronous_standby_names", "default_transaction_isolation", "server_encoding"}

func readServer(ctx context.Context, pool *pgxpool.Pool) (*server, error) {
	s := &server{settings: map[string]string{}}
	var values []string
	err := pool.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(),
		(SELECT array_agg(COALESCE(current_setting(name, true), '') ORDER BY place) FROM unnest($1::text[]) WITH ORDINALITY AS s (name, place))`,
		checked).Scan(&s.version, &s.recovery, &values)
	if err != nil {
		return nil, fmt.Errorf("postgres: asking for settings of the server: %w", err)
	}
	for i, name := range checked {
		s.settings[name] = values[i]
	}
	s.replicated = s.settings["synchronous_standby_names"] != ""
	return s, nil
}

// check refuses a server that cannot keep a queue, or would lose it, and warns of what
// is doubtful.
func (e *Engine) check(ctx context.Context) error {
	s, err := readServer(ctx, e.pool)
	if err != nil {
		return err
	}
	if err := s.refused(e.opts.AllowUnsafe); err != nil {
		return err
	}
	for _, doubt := range s.doubts() {
		e.log.Warn("recall: a setting of the database is doubtful", "setting", doubt.Setting, "value", doubt.Value, "reason", doubt.Reason)
	}
	if s.replicated {
		return e.checkNotices(ctx)
	}
	return nil
}

// refused says why a server cannot keep a queue.
func (s *server) refused(allowUnsafe bool) error {
	switch {
	case s.version < oldestServer:
		return &ServerError{"server_version_num", fmt.Sprint(s.version), fmt.Sprintf("it has to be %d or newer", oldestServer)}
	case s.recovery:
		return &ServerError{"pg_is_in_recovery()", "true", "it is a standby, which cannot be written to; name the primary, or several hosts with target_session_attrs=read-write"}
	}
	switch encoding := s.settings["server_encoding"]; {
	case encoding != "UTF8" && encoding != "":
		return &ServerError{"server_encoding", encoding, "messages have text of all scripts; make the database with ENCODING 'UTF8'"}
	case allowUnsafe:
		return nil
	}
	return errors.Join(s.unsafe()...)
}

// unsafe is what loses acknowledged messages in a crash.
func (s *server) unsafe() (faults []error) {
	for _, fault := range []*ServerError{
		{"fsync", "off", "a crash of the machine may destroy the whole database; Options.AllowUnsafe is for tests"},
		{"synchronous_commit", "off", "a crash may lose what was acknowledged in the last moments; Options.AllowUnsafe is for who can do without that"},
	} {
		if s.settings[fault.Setting] == fault.Value {
			faults = append(faults, fault)
		}
	}
	return faults
}

// doubts are what a person should know of.
func (s *server) doubts() (list []*ServerError) {
	doubt := func(name, reason string) { list = append(list, &ServerError{name, s.settings[name], reason}) }
	if s.settings["full_page_writes"] == "off" && s.settings["fsync"] == "on" {
		doubt("full_page_writes", "a page that is half written in a crash is lost, unless the file system prevents that")
	}
	if s.replicated {
		switch s.settings["synchronous_commit"] {
		case "local":
			doubt("synchronous_commit", "commits do not wait for the standby, though synchronous_standby_names has one: a failover may lose what was acknowledged")
		case "remote_write":
			doubt("synchronous_commit", "commits do not wait for the disk of the standby")
		}
	}
	switch s.settings["default_transaction_isolation"] {
	case "repeatable read", "serializable":
		doubt("default_transaction_isolation", "transactions of Recall's own are read committed all the same; those of the program with PublishTx may have to be made again (40001)")
	}
	return list
}
