package peer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall/postgres/pgserver"
)

const (
	postgresProgram    = "postgres"
	postgresConnection = "a server of its own with fsync, synchronous_commit and full_page_writes on (read back on every connection), shared_buffers 1 GB, max_wal_size 4 GB, unix socket, at most 64 connections"
	postgresMost       = 64 // connections of the publishers
)

// postgresSettings are those of every server.
var postgresSettings = []string{
	"max_connections=100", "shared_buffers=1GB", "max_wal_size=4GB",
	"fsync=on", "synchronous_commit=on", "full_page_writes=on",
}

// PostgresOptions say what server a peer is opened on.
type PostgresOptions struct {
	Connections int      // that the peer may use, all open from the start
	Standby     bool     // with a synchronous standby; the folder must be new
	settings    []string // given to the servers as they are, after the usual ones
	configure   func(*pgxpool.Config)
}

// pgServer is a PostgreSQL in a folder, that nobody else reaches, and a pool of
// connections to it.
type pgServer struct {
	dir    string
	server *pgserver.Server // the primary
	pair   *pgserver.Pair   // nil: there is no standby
	pool   *pgxpool.Pool
}

// publishersOf are the connections for so many publishers, and not fewer than a
// peer needs for itself.
func publishersOf(n int, settings ...string) PostgresOptions {
	return PostgresOptions{Connections: min(max(n, 8), postgresMost), settings: settings}
}

// startPostgres starts the server on what the folder has, at first on nothing.
func startPostgres(ctx context.Context, dir string, o PostgresOptions) (*pgServer, error) {
	p := &pgServer{dir: filepath.Join(dir, "pg")}
	err := p.start(ctx, o)
	if err == nil {
		err = p.connect(ctx, o)
	}
	if err == nil {
		err = p.Durable(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *pgServer) start(ctx context.Context, o PostgresOptions) (err error) {
	c := pgserver.Config{Dir: p.dir, Copied: true, Settings: slices.Concat(postgresSettings, o.settings)}
	if !o.Standby {
		p.server, err = pgserver.Start(ctx, c)
		return err
	}
	c.Settings = slices.Concat(pgserver.Replicated, c.Settings)
	if p.pair, err = pgserver.StartPair(ctx, c); err == nil {
		p.server = p.pair.Primary()
	}
	return err
}

// connect opens the whole pool: the first use of a connection takes long.
func (p *pgServer) connect(ctx context.Context, o PostgresOptions) error {
	config, err := pgxpool.ParseConfig(p.server.DSN())
	if err != nil {
		return err
	}
	width := o.Connections
	config.MaxConns, config.MinConns = int32(width), int32(width)
	config.AfterConnect = checkPostgres
	if o.configure != nil {
		o.configure(config)
	}
	if p.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return err
	}
	errs := make([]error, width)
	var open, group sync.WaitGroup // all are held until all are open
	open.Add(width)
	for i := range width {
		group.Go(func() {
			conn, err := p.pool.Acquire(ctx)
			open.Done()
			if errs[i] = err; err != nil {
				return
			}
			open.Wait()
			conn.Release()
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// checkPostgres reads back what makes a commit mean a sync: the server's own
// settings, and the one that a connection may have another value of.
func checkPostgres(ctx context.Context, conn *pgx.Conn) error {
	var errs []error
	for _, setting := range []string{"fsync", "synchronous_commit", "full_page_writes"} {
		var got string
		if err := conn.QueryRow(ctx, "SHOW "+setting).Scan(&got); err != nil {
			return err
		}
		errs = append(errs, mustBe("PostgreSQL", setting, got, "on"))
	}
	return errors.Join(errs...)
}

// Durable reads back that a commit is on the disk when it is answered, with a
// standby on both disks, on connections of its own.
func (p *pgServer) Durable(ctx context.Context) error {
	err := p.ask(ctx, p.server, checkPostgres)
	if p.pair == nil {
		return errors.Join(err, p.ask(ctx, p.server, checkAlone))
	}
	return errors.Join(err, p.ask(ctx, p.server, checkPrimary), p.ask(ctx, p.pair.Standby(), checkStandby))
}

func (p *pgServer) ask(ctx context.Context, s *pgserver.Server, check func(context.Context, *pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.DSN())
	if err != nil {
		return err
	}
	return errors.Join(check(ctx, conn), conn.Close(ctx))
}

// checkAlone: nobody else is waited for.
func checkAlone(ctx context.Context, conn *pgx.Conn) error {
	return checkAnswer(ctx, conn, "PostgreSQL", "synchronous_standby_names", "", "SHOW synchronous_standby_names")
}

// checkPrimary: there is one standby, it is waited for, and it follows.
func checkPrimary(ctx context.Context, conn *pgx.Conn) error {
	return errors.Join(
		checkAnswer(ctx, conn, "the primary", "synchronous_standby_names", "FIRST 1 ("+pgserver.StandbyName+")", "SHOW synchronous_standby_names"),
		checkAnswer(ctx, conn, "the primary", "pg_stat_replication", pgserver.StandbyName+" streaming sync",
			"SELECT coalesce(string_agg(application_name || ' ' || state || ' ' || sync_state, ', '), 'empty') FROM pg_stat_replication"))
}

// checkStandby: it is one, and syncs what it writes.
func checkStandby(ctx context.Context, conn *pgx.Conn) error {
	return errors.Join(checkPostgres(ctx, conn),
		checkAnswer(ctx, conn, "the standby", "pg_is_in_recovery()", "true", "SELECT pg_is_in_recovery()::text"))
}

func checkAnswer(ctx context.Context, conn *pgx.Conn, who, setting, want, question string) error {
	var got string
	if err := conn.QueryRow(ctx, question).Scan(&got); err != nil {
		return fmt.Errorf("%s: %w", setting, err)
	}
	return mustBe(who, setting, got, want)
}

// checkLogged: a table that is not in the log is empty after a crash.
func (p *pgServer) checkLogged(ctx context.Context, table string) error {
	var persistence string
	err := p.pool.QueryRow(ctx, `SELECT relpersistence::text FROM pg_class WHERE oid = $1::text::regclass`, table).Scan(&persistence)
	if err != nil {
		return err
	}
	return mustBe("PostgreSQL", "persistence of table "+table, persistence, "p")
}

// warm brings the pages of a table into the log after the checkpoint that the
// start was: the first change of a page writes all of it, see Checkpoint. It
// also counts the rows for the planner.
func (p *pgServer) warm(ctx context.Context, table ...string) error {
	name := pgx.Identifier(table).Sanitize()
	if _, err := p.pool.Exec(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+name+" FOR UPDATE) AS rows"); err != nil {
		return err
	}
	_, err := p.pool.Exec(ctx, "ANALYZE "+name)
	return err
}

// Checkpoint makes the next change of each page cost the whole page again.
func (p *pgServer) Checkpoint(ctx context.Context) error {
	_, err := p.pool.Exec(ctx, "CHECKPOINT")
	return err
}

// Address is that of the primary.
func (p *pgServer) Address() string { return p.server.DSN() }

// Size is that of the primary.
func (p *pgServer) Size() (int64, error) { return FolderSize(p.server.Data()) }

// Memory is that of the primary.
func (p *pgServer) Memory() (int64, error) {
	pid := p.server.Process()
	return memoryOf(append(children(pid), pid))
}

func (p *pgServer) close() (err error) {
	if p.pool != nil {
		p.pool.Close()
	}
	switch {
	case p.pair != nil:
		err = p.pair.Stop()
	case p.server != nil:
		err = p.server.Stop()
	}
	return err
}
