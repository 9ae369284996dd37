package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// defaultAddress is where SDKs look for a local QStash.
const defaultAddress = "127.0.0.1:8080"

// server is what dev, serve and demo have in common.
type server struct {
	listen      string
	db          string
	token       string
	currentKey  string
	nextKey     string
	out         io.Writer
	log         *slog.Logger
	showSecrets bool // they are public, or of a server that only its user sees
	temporary   bool // db is removed at the end
}

func (s *server) addFlags(cmd *cobra.Command, db, token string) {
	cmd.Flags().StringVar(&s.listen, "listen", defaultAddress, "address to listen on; on one loopback means on both")
	cmd.Flags().StringVar(&s.db, "db", "", db)
	cmd.Flags().StringVar(&s.token, "token", "", token)
}

func (s *server) attach(cmd *cobra.Command, level slog.Level) {
	s.out = cmd.OutOrStdout()
	s.log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
}

func (s *server) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// useTemporaryFile sets db to a file of its own folder, which remove deletes.
func (s *server) useTemporaryFile(name string) (remove func(), err error) {
	dir, err := os.MkdirTemp("", "recall-"+name+"-")
	if err != nil {
		return nil, err
	}
	s.db, s.temporary = filepath.Join(dir, name+".db"), true
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("the temporary file is still there", "error", err)
		}
	}, nil
}

// run serves the file until ctx ends. It listens first: an address that is
// taken is no reason to create a file.
func (s *server) run(ctx context.Context) error {
	in, err := openDoors(s.listen, s.log)
	if err != nil {
		return err
	}
	broker, err := s.open(false)
	if err != nil {
		in.close()
		return err
	}
	err = s.serve(ctx, broker, in, func() { s.announce(in) })
	return errors.Join(err, closeBroker(broker))
}

func (s *server) open(noDispatch bool) (*recall.Broker, error) {
	return recall.Open(s.db, &recall.Options{
		OnRequest: qstash.OnRequest, Logger: s.log, NoDispatch: noDispatch, DeliveredRetention: qstash.DeliveredRetention,
	})
}

// patience is how long running requests, and after them running attempts, may
// go on after a signal.
const patience = 10 * time.Second

func closeBroker(b *recall.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return b.Close(ctx)
}

// serve answers requests until ctx ends, then lets running ones finish. The
// broker stays open. ready is called when clients can connect.
func (s *server) serve(ctx context.Context, broker *recall.Broker, in doors, ready func()) error {
	web := s.httpServer(broker)
	failed := make(chan error, len(in))
	for _, l := range in {
		go func() { failed <- web.Serve(l) }() // ends with shutDown
	}
	ready()
	select {
	case err := <-failed:
		return errors.Join(err, shutDown(web))
	case <-ctx.Done():
		s.say("Stopping: what is running may take %v to end. A second signal stops at once.", patience)
		return shutDown(web)
	}
}

// maxHeaderBytes bounds the request line and the headers. The line may name all
// the messages of a bulk cancellation: this is room for about 100,000 ids.
const maxHeaderBytes = 4 << 20

func (s *server) httpServer(broker *recall.Broker) *http.Server {
	return &http.Server{
		Handler: qstash.NewHandler(broker, &qstash.Options{
			Token: s.token, CurrentSigningKey: s.currentKey, NextSigningKey: s.nextKey, Logger: s.log,
		}),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       2 * time.Minute, // a large batch over a slow line
		WriteTimeout:      5 * time.Minute, // begins with reading the body
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
}

func shutDown(web *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := web.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		_ = web.Close() // the error below says it all
		return fmt.Errorf("requests that were still running after %v were cut off", patience)
	}
	return err
}

// announce says that clients can connect. SDKs that start the server wait for
// a line with "running at".
func (s *server) announce(in doors) {
	s.say("Recall is running at %s", in.url())
	if s.showSecrets {
		s.say("\n  QSTASH_URL=%s\n  QSTASH_TOKEN=%s\n  QSTASH_CURRENT_SIGNING_KEY=%s\n  QSTASH_NEXT_SIGNING_KEY=%s\n", in.url(),
			cmp.Or(s.token, qstash.DevToken), cmp.Or(s.currentKey, qstash.DevCurrentSigningKey), cmp.Or(s.nextKey, qstash.DevNextSigningKey))
	}
	if s.temporary {
		s.say("Messages are kept in %s, which is removed at the end.", s.db)
	}
	if !in.local() && cmp.Or(s.token, qstash.DevToken) == qstash.DevToken {
		s.log.Warn("other machines can connect with a token that is public; choose one with --token", "address", in[0].Addr())
	}
}
