package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dump"
)

// move is a command that takes a queue to another engine, or brings it.
type move struct {
	engineFlags
	db   string
	json bool
	yes  bool // replace a file without asking
}

func (m *move) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.db, "db", "", "file of the queue, which no process may hold")
	m.engineFlags.addFlags(cmd, "address of a PostgreSQL database that keeps the queue, such as postgres://user@host/database?schema=recall")
	cmd.Flags().BoolVar(&m.json, "json", false, "write JSON: an object")
	_ = cmd.MarkFlagFilename("db") // for completion only
}

// open opens the queue without a broker: nothing is delivered, and nothing dropped.
func (m *move) open(ctx context.Context, c *console, mayMake bool) (recall.Engine, error) {
	log := slog.New(slog.NewTextHandler(c.notes, &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	queue := m.engine
	if queue.addresses, err = m.find(m.db); err != nil {
		return nil, err
	}
	if queue.there() {
		names, err := queue.names()
		if err != nil {
			return nil, err
		}
		e, err := queue.open(ctx, log)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", strings.Join(names, ", "), err)
		}
		return e, nil
	}
	if err := m.idle(); err != nil {
		return nil, err
	}
	if m.db == "" {
		return nil, usagef("say which queue: --db with a file, or --engine with the address of a database")
	}
	if _, err := os.Stat(m.db); !mayMake || !errors.Is(err, fs.ErrNotExist) {
		if err := checkFile(m.db); err != nil {
			return nil, err
		}
	}
	return recall.OpenEngine(m.db, fileOptions(log))
}

// run makes a command open the queue, do its job, and close it.
func (m *move) run(mayMake bool, do func(ctx context.Context, c *console, e recall.Engine, file string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c := consoleOf(cmd)
		e, err := m.open(cmd.Context(), &c, mayMake)
		if err != nil {
			return told(err)
		}
		err = do(cmd.Context(), &c, e, args[0])
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			err = errInterrupted
		}
		return told(errors.Join(err, e.Close()))
	}
}

func exportCommand() *cobra.Command {
	m := &move{}
	cmd := &cobra.Command{
		Use:   "export FILE",
		Short: "Write a queue as lines of JSON, for another engine",
		Long: `Write all of a queue to a file of JSON lines, which recall import reads: messages with
their ids, dead letters, queues, topics, schedules, flow-control keys, standing
cancellations and signing keys. Not events, records of cancellations and
deduplication ids.

The queue is a file that no process holds, or a database: stop the servers that
work on it before, since what they deliver meanwhile may be in the dump. What is
in flight is exported as pending, and its attempt counts.

The dump holds bodies, headers and signing keys as they are. It is there under
its name only when it is whole. With - it goes to standard output.`,
		Example: "  recall export --db queue.db queue.jsonl\n  recall export --engine-file /etc/recall/engine - | gzip > queue.jsonl.gz",
		Args:    exactly(1, "the file to write"),
	}
	cmd.RunE = m.run(false, m.export)
	m.addFlags(cmd)
	cmd.Flags().BoolVarP(&m.yes, "yes", "y", false, "replace a file without asking")
	return cmd
}

func (m *move) export(ctx context.Context, c *console, e recall.Engine, file string) error {
	if file == "-" {
		_, err := m.exportTo(ctx, c, e, c.out)
		return err
	}
	if err := c.mayReplace(file, m.yes); err != nil {
		return err
	}
	var counts dump.Counts
	err := c.replace(file, func(out *os.File) (err error) {
		counts, err = m.exportTo(ctx, c, e, out)
		return err
	}, func(string) error { return nil }, os.Rename)
	switch {
	case err != nil:
		return err
	case m.json:
		return printJSON(c.out, counts)
	}
	c.say("%s is written: %s, %s, %s.", file, countText(counts.Messages, "message", "messages"),
		countText(counts.Dead, "dead letter", "dead letters"), countText(counts.Objects, "object", "objects"))
	return nil
}

func (m *move) exportTo(ctx context.Context, c *console, e recall.Engine, out io.Writer) (dump.Counts, error) {
	now := nowOf(e)
	in, err := e.Count(ctx, recall.Filter{States: []recall.State{recall.StateInFlight}}, now)
	if err != nil {
		return dump.Counts{}, err
	}
	if in.InFlight > 0 {
		fmt.Fprintf(c.notes, "%s in flight: exported as pending. Is a server at work?\n", countText(in.InFlight, "message is", "messages are"))
	}
	show := startBar(c, "exporting", 0, false)
	defer show.stop()
	return dump.Export(ctx, e, out, now, show.progress)
}

// nowOf is the time of an engine: a database's, if that has the queue.
func nowOf(e recall.Engine) time.Time {
	if c, ok := e.(recall.Clocked); ok {
		return c.Clock().Now()
	}
	return time.Now()
}

func importCommand() *cobra.Command {
	m := &move{}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Read what recall export has written",
		Long: `Read a dump of recall export into a queue: a file that no process holds, which is made
if it is not there, or a database. Messages keep their ids.

What the queue has already stays as it is. An import that was interrupted goes on
where it was when the same dump is imported again; one that is done imports
nothing. With - the dump comes from standard input.`,
		Example: "  recall import --engine-file /etc/recall/engine queue.jsonl\n  gunzip -c queue.jsonl.gz | recall import --db new.db -",
		Args:    exactly(1, "a dump"),
	}
	cmd.RunE = m.run(true, m.importFrom)
	m.addFlags(cmd)
	return cmd
}

func (m *move) importFrom(ctx context.Context, c *console, e recall.Engine, file string) error {
	in, size := c.in, int64(0)
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // it was only read
		if info, err := f.Stat(); err == nil {
			size = info.Size()
		}
		in = f
	}
	show := startBar(c, "importing", size, true)
	r, err := dump.Import(ctx, e, in, nowOf(e), func(done, _ int64) { show.set(done) })
	show.stop()
	if err != nil {
		if r.Lines > 0 {
			fmt.Fprintln(c.notes, "The import is not complete. Import the same dump again to go on.")
		}
		return err
	}
	if m.json {
		return printJSON(c.out, struct {
			dump.Counts
			Resumed int `json:"resumed"`
			Lines   int `json:"lines"`
		}{r.Counts, r.Resumed, r.Lines})
	}
	c.say("Imported: %s, %s, %s.", countText(r.Messages, "message", "messages"), countText(r.Dead, "dead letter", "dead letters"),
		countText(r.Objects, "object", "objects"))
	if r.Resumed > 0 {
		c.say("An earlier import of this dump had got to line %d.", r.Resumed+1)
	}
	return nil
}
