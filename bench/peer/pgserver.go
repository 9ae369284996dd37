package peer

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	postgresProgram    = "postgres"
	postgresConnection = "a server of its own with fsync, synchronous_commit and full_page_writes on (read back on every connection), shared_buffers 1 GB, max_wal_size 4 GB, unix socket, at most 64 connections"
	postgresUser       = "bench"
	postgresMost       = 64 // connections of the publishers
)

// pgServer is a PostgreSQL in a folder, that nobody else reaches, and a pool of
// connections to it.
type pgServer struct {
	dir    string
	socket string // a folder with a short name: the system allows no long ones
	server *service
	pool   *pgxpool.Pool
}

// startPostgres starts the server on what the folder has, at first on nothing.
// More settings are given to the server as they are.
func startPostgres(ctx context.Context, dir string, publishers int, settings ...string) (*pgServer, error) {
	program, err := find(postgresProgram)
	if err != nil {
		return nil, err
	}
	// initdb is where the program is in truth.
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return nil, err
	}
	who, err := serviceAccount()
	if err != nil {
		return nil, err
	}
	p := &pgServer{dir: filepath.Join(dir, "pg")}
	err = p.initialise(ctx, filepath.Join(filepath.Dir(program), "initdb"), who)
	if err == nil {
		err = p.start(ctx, program, who, settings)
	}
	if err == nil {
		err = p.connect(ctx, min(max(publishers, 8), postgresMost))
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *pgServer) data() string { return filepath.Join(p.dir, "data") }

// initialise copies an empty database into a folder that has none.
func (p *pgServer) initialise(ctx context.Context, initdb string, who *account) error {
	if _, err := os.Stat(p.data()); err == nil {
		return nil
	}
	empty, err := template.get(ctx, initdb, who)
	if err != nil {
		return err
	}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	if err := who.own(p.dir); err != nil {
		return err
	}
	return output(exec.CommandContext(ctx, "cp", "-pR", empty, p.data()))
}

// template is an empty database. Making one takes seconds, copying it does not.
var template pgTemplate

type pgTemplate struct {
	mu  sync.Mutex
	dir string
}

func (t *pgTemplate) get(ctx context.Context, program string, who *account) (data string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir != "" {
		return filepath.Join(t.dir, "data"), nil
	}
	dir, err := os.MkdirTemp("", "recall-initdb-")
	if err != nil {
		return "", err
	}
	data = filepath.Join(dir, "data")
	initdb := exec.CommandContext(ctx, program, "-D", data, "-U", postgresUser,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, attributes(who, false)
	if err := errors.Join(who.own(dir), output(initdb)); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	t.dir = dir
	return data, nil
}

func (t *pgTemplate) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir == "" {
		return nil
	}
	dir := t.dir
	t.dir = ""
	return os.RemoveAll(dir)
}

// output runs a command; an error has what it said.
func output(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, out)
	}
	return nil
}

func (p *pgServer) start(ctx context.Context, program string, who *account, settings []string) (err error) {
	if p.socket, err = os.MkdirTemp("", "recall-pg-"); err != nil {
		return err
	}
	if err := who.own(p.socket); err != nil {
		return err
	}
	args := []string{"-D", p.data(), "-k", p.socket}
	for _, setting := range append([]string{
		"listen_addresses=", "max_connections=100", "shared_buffers=1GB", "max_wal_size=4GB",
		"fsync=on", "synchronous_commit=on", "full_page_writes=on",
	}, settings...) {
		args = append(args, "-c", setting)
	}
	// An interrupt asks for a fast shutdown, which waits for nobody.
	if p.server, err = startService(p.dir, "server", who, os.Interrupt, program, args...); err != nil {
		return err
	}
	return p.server.await(ctx, func(ctx context.Context) error {
		conn, err := pgx.Connect(ctx, p.address())
		if err != nil {
			return err
		}
		return conn.Close(ctx)
	})
}

func (p *pgServer) address() string {
	return "postgres:///postgres?" + url.Values{"host": {p.socket}, "user": {postgresUser}, "sslmode": {"disable"}}.Encode()
}

// connect opens the whole pool: the first use of a connection takes long.
func (p *pgServer) connect(ctx context.Context, width int) error {
	config, err := pgxpool.ParseConfig(p.address())
	if err != nil {
		return err
	}
	config.MaxConns, config.MinConns = int32(width), int32(width)
	config.AfterConnect = checkPostgres
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

func (p *pgServer) Size() (int64, error) { return FolderSize(p.data()) }

func (p *pgServer) Memory() (int64, error) {
	pid := p.server.cmd.Process.Pid
	return memoryOf(append(children(pid), pid))
}

func (p *pgServer) close() error {
	var errs []error
	if p.pool != nil {
		p.pool.Close()
	}
	if p.server != nil {
		errs = append(errs, p.server.stop())
	}
	if p.socket != "" {
		errs = append(errs, os.RemoveAll(p.socket))
	}
	return errors.Join(errs...)
}
