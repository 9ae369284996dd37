package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Pair is a primary and its standby. Unless they were made otherwise, what the primary
// has committed the standby has, too.
type Pair struct {
	primary, standby *Server
}

// standbyName is what the standby says it is.
const standbyName = "b"

// replicated are the settings of both servers. Who waits for the standby does so until it
// has the commit, whatever happens.
var replicated = []string{
	"wal_level=replica", "max_wal_senders=4", "hot_standby=on", "max_connections=100", "wal_keep_size=256MB",
	"wal_retrieve_retry_interval=100ms",
}

// WithStandby starts a primary and a synchronous standby of it, for one test, with which
// both end.
func WithStandby(t testing.TB, settings ...string) *Pair {
	t.Helper()
	p, err := startPair(slices.Concat(quick, replicated, settings))
	if err != nil {
		missing(t, err)
	}
	t.Cleanup(p.stop)
	return p
}

func startPair(settings []string) (p *Pair, err error) {
	p = &Pair{}
	if p.primary, err = Start(settings...); err != nil {
		return nil, err
	}
	p.standby, err = begin(settings, func(s *Server) error {
		basebackup := s.tool("pg_basebackup")
		if _, err := os.Stat(basebackup); err != nil { // some distributions have it with the clients
			if basebackup, err = exec.LookPath("pg_basebackup"); err != nil {
				return err
			}
		}
		return s.run(basebackup, "-D", s.data(), "-d", p.primary.words()+" application_name="+standbyName, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	})
	if err == nil {
		err = p.synchronise()
	}
	if err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// synchronise has the primary wait for the standby, once there is one: before, nothing
// would be committed. A setting of the test's own about that is left alone.
func (p *Pair) synchronise() error {
	for _, s := range p.primary.settings {
		if strings.HasPrefix(s, "synchronous_standby_names=") {
			return p.awaitStandby("true")
		}
	}
	err := run(p.primary.DSN(), "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 ("+standbyName+")'")
	if err == nil {
		err = run(p.primary.DSN(), "SELECT pg_reload_conf()")
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

// DSN is the address of both, for package pgxpool: it leads to the one that can be written
// to.
func (p *Pair) DSN() string { return Pooled(p.words()) }

func (p *Pair) words() string {
	return "host=" + p.primary.dir + "," + p.standby.dir + " port=5432,5432 user=" + superuser +
		" dbname=postgres sslmode=disable target_session_attrs=read-write"
}

// Primary is the address of the primary, and Standby that of the standby, whatever they are.
func (p *Pair) Primary() string { return Pooled(p.primary.DSN()) }

// Standby is the address of the standby; see [Pair.Primary].
func (p *Pair) Standby() string { return Pooled(p.standby.DSN()) }

// Detach ends the replication: what is committed from now on the standby does not get. A
// primary that has to wait for it commits nothing any more.
func (p *Pair) Detach() error {
	for _, statement := range []string{"ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"} {
		if err := run(p.standby.DSN(), statement); err != nil {
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
	if err := killAll(p.primary.cmd.Process.Pid); err != nil {
		return err
	}
	<-p.primary.exited
	p.primary.cmd = nil
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
	if err := run(p.standby.DSN(), "SELECT pg_promote(wait => true, wait_seconds => 600)"); err != nil {
		return err
	}
	return await(p.standby.DSN(), "SELECT NOT pg_is_in_recovery()")
}

// stop ends the standby first: the primary would wait for it.
func (p *Pair) stop() {
	for _, s := range []*Server{p.standby, p.primary} {
		if s != nil {
			s.Stop()
		}
	}
}
