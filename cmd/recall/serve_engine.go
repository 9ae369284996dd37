package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// engineFlags name a queue in PostgreSQL. The address may have a password in it: it is
// shown nowhere.
type engineFlags struct {
	dsn, file string
	unsafe    bool
	lease     time.Duration // of serve only; 0: the default
}

func (e *engineFlags) addFlags(cmd *cobra.Command, what string) {
	cmd.Flags().StringVar(&e.dsn, "engine", "", what)
	cmd.Flags().StringVar(&e.file, "engine-file", "", "file with the address for --engine, which others on the machine cannot read off the command line")
	cmd.Flags().BoolVar(&e.unsafe, "engine-unsafe", false, "take a database that may lose what it has acknowledged (fsync or synchronous_commit is off), for tests")
	exclusive(cmd, "engine", "engine-file")
	exclusive(cmd, "db", "engine")
	exclusive(cmd, "db", "engine-file")
}

func (e *engineFlags) given() bool { return e.dsn != "" || e.file != "" }

// address is that of the flags; "" if there is none.
func (e *engineFlags) address() (string, error) {
	if e.file == "" {
		return e.dsn, nil
	}
	return readEngineFile(e.file)
}

// readEngineFile reads the one line of a file that is no comment.
func readEngineFile(path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("the file with the address of the engine cannot be read: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	if len(found) != 1 {
		return "", usagef("%s has to have the address of an engine in it, and nothing else", path)
	}
	return found[0], nil
}

func isEngine(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// engineName is what an engine is called in messages and logs: its address without user
// and password.
func engineName(dsn string) (string, error) {
	if !isEngine(dsn) {
		return "", usagef("--engine: the address of an engine begins with postgres://")
	}
	name, err := postgres.Describe(dsn)
	if err != nil {
		return "", usagef("--engine: %w", err)
	}
	return name, nil
}

// newBroker opens the queue of a user: a file, or one in PostgreSQL.
func (u *user) newBroker(o *recall.Options) (*recall.Broker, error) {
	if u.engine == "" {
		return recall.Open(u.file, o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineOpens)
	defer cancel()
	e, err := postgres.Open(ctx, u.engine, &postgres.Options{LeaseTime: u.lease, AllowUnsafe: u.unsafe, Logger: o.Logger})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", u.file, err)
	}
	b, err := recall.New(e, o)
	if err != nil {
		_ = e.Close() // the first error says what is wrong
		return nil, err
	}
	u.ping = e.Ping
	return b, nil
}

const (
	engineOpens   = time.Minute     // with a migration
	engineAnswers = 2 * time.Second // before /readyz says no
)

// answers tells whether the queue can be reached. A file always can.
func (u *user) answers(ctx context.Context) bool {
	if u.ping == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, engineAnswers)
	defer cancel()
	return u.ping(ctx) == nil
}
