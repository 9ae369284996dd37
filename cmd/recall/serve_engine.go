package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
)

// engine is a queue in PostgreSQL, in one database or spread over several. Addresses may
// have a password in them: they are shown nowhere.
type engine struct {
	addresses []string
	shards    int           // 0: as many as addresses
	lease     time.Duration // 0: the default
	listen    bool          // processes tell each other of messages
	unsafe    bool          // it may lose what it has acknowledged
}

func (e *engine) there() bool { return len(e.addresses) > 0 }

// names are what the databases are called in messages and logs: their addresses without
// user and password. It refuses what can only be a mistake.
func (e *engine) names() (names []string, err error) {
	for _, address := range e.addresses {
		if !isEngine(address) {
			return nil, usagef("--engine: the address of an engine begins with postgres://")
		}
		name, err := postgres.Describe(address)
		if err != nil {
			return nil, usagef("--engine: %w", err)
		}
		if slices.Contains(names, name) {
			return nil, usagef("--engine: %s is there twice", name)
		}
		if len(names) > 0 && schemaIn(name) != schemaIn(names[0]) {
			return nil, usagef("--engine: the schema has one name in all of them, and %s is not as %s", name, names[0])
		}
		names = append(names, name)
	}
	if e.shards != 0 && e.shards < len(names) {
		return nil, usagef("--engine-shards: %d shards cannot be on %d databases", e.shards, len(names))
	}
	return names, nil
}

// schemaIn is that of a name that package postgres has made.
func schemaIn(name string) string {
	_, schema, _ := strings.Cut(name, "?schema=")
	return schema
}

// pinger is an engine that may be out of reach.
type pinger interface {
	recall.Engine
	Ping(ctx context.Context) error
}

// open opens the queue, or makes it.
func (e *engine) open(ctx context.Context, log *slog.Logger) (pinger, error) {
	o := &postgres.Options{Shards: e.shards, LeaseTime: e.lease, Listen: e.listen, AllowUnsafe: e.unsafe, Logger: log}
	if len(e.addresses) == 1 && e.shards <= 1 {
		return opened(postgres.Open(ctx, e.addresses[0], o))
	}
	return opened(postgres.OpenShards(ctx, e.addresses, o))
}

// opened has an engine that is not there be nil.
func opened[E pinger](e E, err error) (pinger, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}

// engineFlags name an engine.
type engineFlags struct {
	engine
	file string
}

func (e *engineFlags) addFlags(cmd *cobra.Command, what string) {
	f := cmd.Flags()
	f.StringArrayVar(&e.addresses, "engine", nil, what+" (repeatable: the queue is spread over several)")
	f.StringVar(&e.file, "engine-file", "", "file with the addresses for --engine, one a line, which others on the machine cannot read off the command line")
	f.IntVar(&e.shards, "engine-shards", 0, fmt.Sprintf("how many shards the queue has, at most %d, which is fixed when it is made; as many as there are databases unless given", postgres.MaxShards))
	f.BoolVar(&e.unsafe, "engine-unsafe", false, "take a database that may lose what it has acknowledged (fsync or synchronous_commit is off), for tests")
	exclusive(cmd, "engine", "engine-file")
	exclusive(cmd, "db", "engine")
	exclusive(cmd, "db", "engine-file")
	inRange(cmd, "engine-shards", &e.shards, 1, postgres.MaxShards)
}

// inRange refuses a number that is given and out of its bounds.
func inRange(cmd *cobra.Command, flag string, n *int, least, most int) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed(flag) && (*n < least || *n > most) {
			return usagef("--%s: %d is not between %d and %d", flag, *n, least, most)
		}
		if before == nil {
			return nil
		}
		return before(cmd, args)
	}
}

func (e *engineFlags) given() bool { return len(e.addresses) > 0 || e.file != "" }

// find returns the addresses of the flags or, if there are none and no file is named,
// those of the environment.
func (e *engineFlags) find(db string) ([]string, error) {
	switch {
	case e.file != "":
		return readEngineFile(e.file)
	case len(e.addresses) > 0 || db != "":
		return e.addresses, nil
	}
	return strings.Fields(os.Getenv("RECALL_ENGINE")), nil
}

// idle refuses what is said about an engine where there is none.
func (e *engine) idle() error {
	for flag, given := range map[string]bool{
		"engine-shards": e.shards != 0, "engine-listen": e.listen, "engine-unsafe": e.unsafe,
		"engine-lease": e.lease != 0 && e.lease != postgres.DefaultLeaseTime,
	} {
		if given {
			return usagef("--%s goes with --engine, and there is no database", flag)
		}
	}
	return nil
}

// readEngineFile reads the lines of a file that are no comments.
func readEngineFile(path string) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file with the address of the engine cannot be read: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			found = append(found, line)
		}
	}
	if found == nil {
		return nil, usagef("%s has to have the address of an engine in it, or several, one a line, and nothing else", path)
	}
	return found, nil
}

func isEngine(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// newBroker opens the queue of a user: a file, or one in PostgreSQL.
func (u *user) newBroker(o *recall.Options) (*recall.Broker, error) {
	if !u.engine.there() {
		return recall.Open(u.file, o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), engineOpens)
	defer cancel()
	e, err := u.engine.open(ctx, o.Logger)
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
