package pgserver_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall/internal/parttest"
	"github.com/recallmq/recall/postgres/pgserver"
)

// need skips where there is no server to start.
func need(t *testing.T) {
	t.Helper()
	if _, err := pgserver.Find(); err != nil {
		parttest.Missing(t, err.Error())
	}
}

// reachable is a folder that the user of a server gets to.
func reachable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, c pgserver.Config) *pgserver.Server {
	t.Helper()
	c.Settings = append([]string{"fsync=off", "shared_buffers=16MB"}, c.Settings...)
	s, err := pgserver.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func ask(t *testing.T, dsn, question string) (answer string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), question).Scan(&answer); err != nil {
		t.Fatal(err)
	}
	return answer
}

// TestKeeps: what is in a folder of the caller is there again in the next server, whether
// the first one was made or copied; that of the server's own folder goes with it.
func TestKeeps(t *testing.T) {
	need(t)
	for name, c := range map[string]pgserver.Config{
		"made": {Dir: filepath.Join(reachable(t), "below")}, "copied": {Dir: reachable(t), Copied: true}, "copied again": {Dir: reachable(t), Copied: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, c)
			if err := pgserver.Exec(s.DSN(), "CREATE TABLE t AS SELECT 'kept'::text AS word"); err != nil {
				t.Fatal(err)
			}
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
			if got := ask(t, start(t, c).DSN(), "SELECT word FROM t"); got != "kept" {
				t.Errorf("got %q", got)
			}
		})
	}
	s := start(t, pgserver.Config{})
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.Data()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data of a server that was stopped are still there: %v", err)
	}
}

// TestSettings: of two settings of one thing the last one holds, and what is not said is
// as PostgreSQL has it.
func TestSettings(t *testing.T) {
	need(t)
	s := start(t, pgserver.Config{Settings: []string{"shared_buffers=20MB", "fsync=on"}})
	for setting, want := range map[string]string{"shared_buffers": "20MB", "fsync": "on", "synchronous_commit": "on", "listen_addresses": ""} {
		if got := ask(t, s.DSN(), "SHOW "+setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
}

// TestStopAll stops a pair whose standby the primary waits for, and what is kept to be copied.
func TestStopAll(t *testing.T) {
	need(t)
	dir := reachable(t)
	p, err := pgserver.StartPair(t.Context(), pgserver.Config{Dir: dir, Copied: true, Settings: append([]string{"fsync=off"}, pgserver.Replicated...)})
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(t, p.Primary().DSN(), "SELECT sync_state FROM pg_stat_replication WHERE application_name = '"+pgserver.StandbyName+"'"); got != "sync" {
		t.Errorf("the standby is %s, want sync", got)
	}
	if err := pgserver.StopAll(); err != nil {
		t.Error(err)
	}
	if p.Primary().Process() != 0 || p.Standby().Process() != 0 {
		t.Error("a server still runs")
	}
	for _, name := range []string{"primary", "standby"} {
		if _, err := os.Stat(filepath.Join(dir, name, "data", "PG_VERSION")); err != nil {
			t.Error(err)
		}
	}
}
