package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
	"github.com/recallmq/recall/qstash"
)

// target is what a command works on, and how it shows it.
type target struct {
	url, token, db string
	json           bool
}

func (t *target) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&t.url, "url", "", "server to ask (default: QSTASH_URL, or http://"+defaultAddress+")")
	f.StringVar(&t.token, "token", "", "token of the server (default: RECALL_TOKEN or QSTASH_TOKEN, or the public one of recall dev)")
	f.StringVar(&t.db, "db", "", "file to open instead, which no process may hold")
	f.BoolVar(&t.json, "json", false, "write JSON: an object, or for lists an object a line")
	exclusive(cmd, "db", "url")
	exclusive(cmd, "db", "token")
	_ = cmd.MarkFlagFilename("db") // for completion only
}

// session is a target that is open.
type session struct {
	*admin.Client
	console
	json  bool
	close func() error
}

// job is what a command does with a session.
type job func(ctx context.Context, s *session, args []string) error

// run makes a command open the target, do its job, and close it.
func (t *target) run(do job) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := t.open(cmd)
		if err != nil {
			return told(err)
		}
		err = refused(do(cmd.Context(), s, args))
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			err = errInterrupted
		}
		return told(errors.Join(err, s.close()))
	}
}

func (t *target) open(cmd *cobra.Command) (*session, error) {
	s := &session{console: consoleOf(cmd), json: t.json, close: func() error { return nil }}
	if t.db == "" {
		var err error
		s.Client, err = admin.New(t.server(), t.bearer(), nil)
		if err != nil {
			return nil, usageError{err}
		}
		return s, nil
	}
	b, err := openFile(t.db, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		return nil, err
	}
	s.Client, s.close = admin.Local(b), func() error { return closeBroker(b) }
	return s, nil
}

// server is where the SDKs would look, but for the default: theirs is hosted.
func (t *target) server() string {
	return cmp.Or(t.url, os.Getenv("QSTASH_URL"), "http://"+defaultAddress)
}

func (t *target) bearer() string {
	return cmp.Or(t.token, os.Getenv("RECALL_TOKEN"), os.Getenv("QSTASH_TOKEN"), qstash.DevToken)
}

// openFile opens a file to look at it, and to change what is asked for. Nothing is
// delivered, and nothing is given up that the program whose file it is may keep for
// longer than the defaults say: undo, records, events, deduplication ids.
func openFile(path string, log *slog.Logger) (*recall.Broker, error) {
	if err := checkFile(path); err != nil {
		return nil, err
	}
	return recall.Open(path, fileOptions(log))
}

// fileOptions give up nothing.
func fileOptions(log *slog.Logger) *recall.Options {
	const forEver = 100 * 365 * 24 * time.Hour
	return &recall.Options{
		NoDispatch: true, Logger: log, MaxBody: maxFileBody,
		UndoWindow: forEver, UndoBytes: math.MaxInt64, AuditRetention: forEver, EventRetention: forEver, MaxEvents: math.MaxInt32,
		DeduplicationWindow: recall.MaxDeduplicationWindow,
	}
}

// maxFileBody is the largest that the library takes.
const maxFileBody = 16 << 20

// checkFile refuses what is no file, and an empty one, so that no queue is made by a slip
// of the pen.
func checkFile(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Errorf("--db: %w", err)
	case !info.Mode().IsRegular():
		return usagef("--db: %s is not a file", path)
	case info.Size() == 0:
		return usagef("--db: %s is empty; recall serve and recall dev make files", path)
	}
	return nil
}

// print writes v as one line of JSON.
func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
