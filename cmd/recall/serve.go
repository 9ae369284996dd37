package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// server is what dev and serve have in common.
type server struct {
	listen string
	db     string
	token  string
	out    io.Writer
	log    *slog.Logger
}

func devCommand() *cobra.Command {
	s, port := &server{}, 0
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a local QStash: public token, any SDK connects with no settings",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.setPort(port); err != nil {
				return err
			}
			if s.db == "" {
				dir, err := os.MkdirTemp("", "recall-dev-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				s.db = filepath.Join(dir, "recall.db")
				fmt.Fprintln(cmd.OutOrStdout(), "Messages are kept in a temporary file and gone at the end; --db FILE keeps them.")
			}
			return s.run(cmd)
		},
	}
	s.flags(cmd, "127.0.0.1:8080")
	cmd.Flags().IntVar(&port, "port", 0, "port to listen on, instead of that of --listen (environment: QSTASH_DEV_PORT)")
	return cmd
}

func serveCommand() *cobra.Command {
	s := &server{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server with a token and a file of your own",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.token == "" {
				s.token = firstNonEmpty(os.Getenv("RECALL_TOKEN"), os.Getenv("QSTASH_TOKEN"))
			}
			if s.token == "" {
				return usageError{errors.New("serve needs a token: --token, or RECALL_TOKEN or QSTASH_TOKEN in the environment")}
			}
			if s.db == "" {
				return usageError{errors.New("serve needs a file: --db")}
			}
			return s.run(cmd)
		},
	}
	s.flags(cmd, "127.0.0.1:8080")
	return cmd
}

func (s *server) flags(cmd *cobra.Command, listen string) {
	cmd.Flags().StringVar(&s.listen, "listen", listen, "address to listen on")
	cmd.Flags().StringVar(&s.db, "db", "", "file that keeps the messages")
	cmd.Flags().StringVar(&s.token, "token", "", "token that requests must bear")
}

// setPort takes the port as the SDKs' tools give it.
func (s *server) setPort(port int) error {
	text := os.Getenv("QSTASH_DEV_PORT")
	if port != 0 {
		text = fmt.Sprint(port)
	}
	if text == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(s.listen)
	if err != nil {
		return usageError{err}
	}
	s.listen = net.JoinHostPort(host, text)
	return nil
}

func firstNonEmpty(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// run opens the file, serves until the context ends, and closes in order:
// requests first, then attempts, then the file.
func (s *server) run(cmd *cobra.Command) error {
	s.out, s.log = cmd.OutOrStdout(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
	broker, err := recall.Open(s.db, &recall.Options{OnRequest: qstash.OnRequest, Logger: s.log})
	if err != nil {
		return err
	}
	err = s.serve(cmd.Context(), broker, nil)
	return errors.Join(err, closeBroker(broker))
}

// patience is how long running requests and attempts may go on after a signal.
const patience = 10 * time.Second

func closeBroker(b *recall.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return b.Close(ctx)
}

// serve answers requests until ctx ends. ready is called with the URL.
func (s *server) serve(ctx context.Context, broker *recall.Broker, ready func(url string)) error {
	listeners, err := listen(s.listen)
	if err != nil {
		return err
	}
	httpServer := &http.Server{
		Handler:           qstash.NewHandler(broker, &qstash.Options{Token: s.token, Logger: s.log}),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    256 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- httpServer.Serve(l) }()
	}
	url := "http://" + listeners[0].Addr().String()
	s.announce(url)
	if ready != nil {
		ready(url)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	fmt.Fprintln(s.out, "Stopping.")
	shutdown, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return httpServer.Shutdown(shutdown)
}

func (s *server) announce(url string) {
	fmt.Fprintf(s.out, "Recall is running at %s\n", url)
	if s.token != "" && s.token != qstash.DevToken {
		return
	}
	fmt.Fprintf(s.out, "\n  QSTASH_URL=%s\n  QSTASH_TOKEN=%s\n  QSTASH_CURRENT_SIGNING_KEY=%s\n  QSTASH_NEXT_SIGNING_KEY=%s\n\n",
		url, qstash.DevToken, qstash.DevCurrentSigningKey, qstash.DevNextSigningKey)
}
