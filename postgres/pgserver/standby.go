package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Pair is a primary and its standby. Unless they were made otherwise, what the primary
// has committed the standby has, too.
type Pair struct {
	primary, standby *Server
}

// StandbyName is what the standby says it is.
const StandbyName = "b"

// Replicated are settings that both servers of a [Pair] need, beside those of the caller.
// Who waits for the standby does so until it has the commit, whatever happens.
var Replicated = []string{
	"wal_level=replica", "max_wal_senders=4", "hot_standby=on", "max_connections=100", "wal_keep_size=256MB",
	"wal_retrieve_retry_interval=100ms",
}

// StartPair starts a primary and a standby of it, both with these settings, among which
// Replicated, or others like them, have to be. In a folder of the caller, which must have
// none, both have one. The primary waits for its standby from then on, unless there is a
// setting synchronous_standby_names: then that holds.
func StartPair(ctx context.Context, c Config) (p *Pair, err error) {
	below := func(name string) Config {
		one := c
		if c.Dir != "" {
			one.Dir = filepath.Join(c.Dir, name)
		}
		return one
	}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	p = &Pair{}
	if p.primary, err = Start(ctx, below("primary")); err != nil {
		return nil, err
	}
	if p.standby, err = begin(ctx, below("standby"), p.backUp); err == nil {
		err = p.synchronise()
	}
	if err != nil {
		return nil, errors.Join(err, p.Stop())
	}
	return p, nil
}

// backUp fills the folder of the standby with what the primary has.
func (p *Pair) backUp(s *Server, ctx context.Context) error {
	basebackup := s.tool("pg_basebackup")
	if _, err := os.Stat(basebackup); err != nil { // some distributions have it with the clients
		if basebackup, err = exec.LookPath("pg_basebackup"); err != nil {
			return err
		}
	}
	return run(ctx, s.who, s.home, basebackup, "-D", s.data(), "-d", p.primary.words()+" application_name="+StandbyName,
		"-R", "-X", "stream", "-c", "fast", "--no-sync")
}

// Primary is the server that was the primary at first, and Standby the other, whatever they
// are by now.
func (p *Pair) Primary() *Server { return p.primary }

// Standby is the other server; see [Pair.Primary].
func (p *Pair) Standby() *Server { return p.standby }

// synchronise has the primary wait for the standby, once there is one: before, nothing
// would be committed. A setting of the caller's own about that is left alone.
func (p *Pair) synchronise() error {
	if slices.ContainsFunc(p.primary.config.Settings, func(s string) bool { return strings.HasPrefix(s, "synchronous_standby_names=") }) {
		return p.awaitStandby("true")
	}
	err := Exec(p.primary.DSN(), "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ("+StandbyName+")'")
	if err == nil {
		err = Exec(p.primary.DSN(), "SELECT pg_reload_conf()")
	}
	if err != nil {
		return err
	}
	return p.awaitStandby("sync_state = 'sync'")
}

// awaitStandby returns when the primary sends to a standby for which a condition holds.
func (p *Pair) awaitStandby(cond string) error {
	return await(p.primary.DSN(), "SELECT EXISTS (SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND "+cond+")")
}

// Exec executes one statement on a connection of its own.
func Exec(dsn, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}

// await returns when a question is answered with true.
func await(dsn, question string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			return err
		}
		var yes bool
		err = errors.Join(conn.QueryRow(ctx, question).Scan(&yes), conn.Close(ctx))
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", question, ctx.Err())
		case <-after(pollInterval):
		}
	}
}

// DSN is the address of both: it leads to the one that can be written to.
func (p *Pair) DSN() string {
	return "host=" + p.primary.dir + "," + p.standby.dir + " port=5432,5432 user=" + superuser +
		" dbname=postgres sslmode=disable target_session_attrs=read-write"
}

// Detach ends the replication: what is committed from now on the standby does not get. A
// primary that has to wait for it commits nothing any more.
func (p *Pair) Detach() error {
	for _, statement := range []string{"ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"} {
		if err := Exec(p.standby.DSN(), statement); err != nil {
			return err
		}
	}
	return await(p.standby.DSN(), "SELECT NOT EXISTS (SELECT 1 FROM pg_stat_wal_receiver)")
}

// AwaitWaiting returns when somebody waits for the standby to have a commit.
func (p *Pair) AwaitWaiting() error {
	return await(p.primary.DSN(), "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep')")
}

// KillPrimary kills the primary with all its processes, as if its machine had gone. Nobody
// starts it again. On systems other than Linux it is errors.ErrUnsupported.
func (p *Pair) KillPrimary() error {
	running := p.primary.current()
	if running == nil {
		return os.ErrProcessDone
	}
	if err := killAll(running.cmd.Process.Pid); err != nil {
		return err
	}
	p.primary.ended(running)
	p.primary.dropMemory()
	return nil
}

// dropMemory gives back the few bytes of shared memory that a server which was killed
// leaves to the system, if there is a program for that: systems allow some thousand pieces.
func (s *Server) dropMemory() {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 { // "key id" is in the seventh
		return
	}
	if numbers := strings.Fields(lines[6]); len(numbers) == 2 {
		_ = exec.Command("ipcrm", "-m", numbers[1]).Run()
	}
}

// Promote makes the standby the primary. It returns when it can be written to, and waits
// for no standby itself.
func (p *Pair) Promote() error {
	if err := Exec(p.standby.DSN(), "SELECT pg_promote(wait => true, wait_seconds => 600)"); err != nil {
		return err
	}
	return await(p.standby.DSN(), "SELECT NOT pg_is_in_recovery()")
}

// Stop ends the standby first: the primary would wait for it. See [Server.Stop].
func (p *Pair) Stop() (err error) {
	for _, s := range []*Server{p.standby, p.primary} {
		if s != nil {
			err = errors.Join(err, s.Stop())
		}
	}
	return err
}
