package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/egress"
)

// defaultAddress is where SDKs look for a local QStash.
const defaultAddress = "127.0.0.1:8080"

// server is what dev, serve and demo have in common.
type server struct {
	listen string
	db     string
	token  string
	out    io.Writer
	log    *slog.Logger
	logs   logFlags

	users      []*user
	limits     limits
	policy     *egress.Policy // nil: deliveries may go anywhere
	routes     []egress.Route
	proxies    []netip.Prefix // whose X-Forwarded-For is believed
	origins    []string       // of the pages that may call from a browser
	durability recall.Durability
	tls        tlsFiles
	web        web
	state      state

	metricsAddress string // "": none are served

	access      slog.Level // of the line about each request
	showSecrets bool       // they are public, or of a server that only its user sees
	temporary   bool       // db is removed at the end
}

func (s *server) addFlags(cmd *cobra.Command, db, token string) {
	cmd.Flags().StringVar(&s.listen, "listen", defaultAddress, "address to listen on; on one loopback means on both")
	cmd.Flags().StringVar(&s.db, "db", "", db)
	cmd.Flags().StringVar(&s.token, "token", "", token)
	s.limits = defaultLimits
}

func (s *server) attach(cmd *cobra.Command, level slog.Level) error {
	s.out = cmd.OutOrStdout()
	handler, err := s.logs.handler(cmd.ErrOrStderr(), level)
	if err != nil {
		return err
	}
	s.log = slog.New(withRequestIDs{handler})
	return nil
}

func (s *server) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// run serves the users' files until ctx ends. It listens first: an address that
// is taken is no reason to create a file.
func (s *server) run(ctx context.Context) error {
	in, err := openDoors(s.listen, s.log)
	if err != nil {
		return err
	}
	if err := s.openUsers(); err != nil {
		in.close()
		return err
	}
	err = s.serve(ctx, in, func() { s.announce(in) })
	return errors.Join(err, s.closeUsers())
}

// serve answers requests until ctx ends, then lets running ones finish. The
// brokers stay open. ready is called when clients can connect.
func (s *server) serve(ctx context.Context, in doors, ready func()) error {
	web, err := s.httpServer()
	if err != nil {
		in.close()
		return err
	}
	failed := make(chan error, len(in))
	for i, l := range in {
		in[i] = s.tls.listener(web, l)
	}
	for _, l := range in {
		go func() { failed <- web.Serve(l) }() // ends with shutDown
	}
	s.state.set(serving)
	ready()
	select {
	case err := <-failed:
		return errors.Join(err, s.shutDown(web))
	case <-ctx.Done():
		return s.drain(web)
	}
}

// drain first says that no more requests should be sent here, for who asks
// /readyz, and then lets the running ones end.
func (s *server) drain(web *http.Server) error {
	s.state.set(draining)
	s.say("Stopping: what is running may take %v to end. A second signal stops at once.", s.limits.shutdown)
	if s.limits.drainDelay > 0 {
		time.Sleep(s.limits.drainDelay)
	}
	return s.shutDown(web)
}

func (s *server) httpServer() (*http.Server, error) {
	handler, err := s.handler()
	if err != nil {
		return nil, err
	}
	web := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: s.limits.headerTimeout,
		ReadTimeout:       s.limits.readTimeout,
		WriteTimeout:      s.limits.writeTimeout, // begins with reading the body
		IdleTimeout:       s.limits.idleTimeout,
		MaxHeaderBytes:    s.limits.maxHeader,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	web.TLSConfig, err = s.tls.config(s.log)
	return web, err
}

func (s *server) shutDown(web *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.limits.shutdown)
	defer cancel()
	err := web.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		_ = web.Close() // the error below says it all
		return fmt.Errorf("requests that were still running after %v were cut off", s.limits.shutdown)
	}
	return err
}
