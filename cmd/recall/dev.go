package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/egress"
)

// dev is a local QStash for development.
type dev struct {
	server
	port, logPort int
	quota         string
	memory        bool
	routeTexts    []string
	testAPI       bool
}

func devCommand() *cobra.Command {
	d := &dev{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a local QStash: SDKs connect to it with no settings",
		Long: `Run a local QStash, in the place of the dev server that the SDKs know: with its
port, its four users, their tokens and signing keys, so SDKs connect with no
settings. All of that is public: anyone who reaches the address can use the
server. With --token there is one user, who has that token.

Each user has a file, so nothing that one does is seen by another. The files are
in the user's folder for state, in recall/dev and the port, and stay; with
--db they are that one and others beside it. With --memory, and on port 0 without
--db, they are temporary, and removed at the end.

The port is that of --port, or of --listen, or of QSTASH_DEV_PORT in the
environment, or 8080. Port 0 takes a free one. One port further up, or at
--log-port or QSTASH_DEV_LOG_PORT, the log of events can be read, on this
machine only: /?format=json for an object a line, ?user=, ?n= and ?follow=1.

--route sends deliveries for a host elsewhere, so that tests need no internet.
URL, Host header and signature stay those of the destination:

  recall dev --route https://api.example.com=http://127.0.0.1:3000

With --test-api it is a queue for test suites in any language, which they steer
under /recall/v1/test, and nothing is kept: see docs/testing.md.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.start(cmd) },
	}
	d.addFlags(cmd, "file that keeps the messages (default: in the user's folder for state)",
		"token of the only user (default: four users with public ones)")
	f := cmd.Flags()
	f.IntVar(&d.port, "port", 0, "port to listen on, instead of that of --listen")
	f.IntVar(&d.logPort, "log-port", 0, "port where the log of events can be read (default: the next one)")
	f.StringVar(&d.quota, "quota", "", "accepted, and means nothing: there are no plans")
	f.BoolVar(&d.memory, "memory", false, "keep nothing: temporary files that are never synced")
	f.StringArrayVar(&d.routeTexts, "route", nil, "FROM=TO: send deliveries for one host to another address (repeatable)")
	f.BoolVar(&d.testAPI, "test-api", false, "serve tests: a clock that they move, endpoints that they script; nothing is kept")
	d.addOriginFlag(cmd, consoleOrigin)
	d.web.addFlag(cmd, "/dashboard")
	d.logs.addFlags(cmd)
	return cmd
}

func (d *dev) start(cmd *cobra.Command) error {
	if err := d.attach(cmd, slog.LevelInfo); err != nil {
		return err
	}
	d.showSecrets, d.access = true, slog.LevelDebug
	var err error
	if d.listen, err = d.address(cmd.Flags().Changed); err != nil {
		return err
	}
	if err := d.checkOrigins(); err != nil {
		return err
	}
	if err := d.web.check(); err != nil {
		return err
	}
	if d.testAPI {
		if cmd.Flags().Changed("allow-origin") {
			return usagef("--test-api is for programs, and --allow-origin for browsers")
		}
		if cmd.Flags().Changed("dashboard") {
			return usagef("--test-api has no dashboard: its queues come and go with the tests")
		}
		if cmd.Flags().Changed("log-port") {
			return usagef("--test-api has no log to read at --log-port: tests ask for deliveries and events")
		}
		return d.runTestAPI(cmd.Context())
	}
	logPort, err := d.logAddress(cmd.Flags().Changed("log-port"))
	if err != nil {
		return err
	}
	if err := d.parseRoutes(); err != nil {
		return err
	}
	if d.memory && d.db != "" {
		return usagef("--memory keeps nothing, and --db names a file to keep")
	}
	d.noteQuota()
	return d.run(cmd.Context(), logPort)
}

// run is that of server, with the choice of files and the log beside it.
func (d *dev) run(ctx context.Context, logPort string) error {
	in, err := openDoors(d.listen, d.log)
	if err != nil {
		return err
	}
	cleanUp, err := d.chooseFiles()
	if err != nil {
		in.close()
		return err
	}
	defer cleanUp()
	if err := d.openUsers(); err != nil {
		in.close()
		return err
	}
	events, err := d.startLog(in, logPort)
	if err != nil {
		in.close()
		return errors.Join(err, d.closeUsers())
	}
	defer events.close()
	err = d.serve(ctx, in, func() {
		events.announce(d)
		d.announce(in)
	})
	return errors.Join(err, d.closeUsers())
}

// address is where to listen. What was given on the command line is stronger
// than the environment.
func (d *dev) address(given func(flag string) bool) (string, error) {
	port, from := strconv.Itoa(d.port), "--port"
	if !given("port") {
		port, from = os.Getenv("QSTASH_DEV_PORT"), "QSTASH_DEV_PORT"
		if port == "" || given("listen") {
			return d.listen, nil
		}
	}
	if err := checkPort(port, from); err != nil {
		return "", err
	}
	host, _, err := net.SplitHostPort(d.listen)
	if err != nil {
		return "", usagef("--listen: %w", err)
	}
	return net.JoinHostPort(host, port), nil
}

func checkPort(port, from string) error {
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return usagef("%s: %q is not a port", from, port)
	}
	return nil
}

func (d *dev) parseRoutes() error {
	for _, text := range d.routeTexts {
		r, err := egress.ParseRoute(text)
		if err != nil {
			return usagef("--route: %w", err)
		}
		d.routes = append(d.routes, r)
	}
	return nil
}

// noteQuota tells who asks for a plan that there are none.
func (d *dev) noteQuota() {
	if quota := cmp.Or(d.quota, os.Getenv("QSTASH_DEV_QUOTA")); quota != "" {
		d.log.Info("the quota is ignored: there are no plans here, and no limits of one", "quota", quota)
	}
}

// chooseFiles says where the users' files are. What it returns removes those
// that are temporary.
func (d *dev) chooseFiles() (cleanUp func(), err error) {
	cleanUp = func() {}
	switch {
	case d.memory:
		d.durability = recall.SyncNever
		cleanUp, err = d.useTemporaryFile("dev")
	case d.db == "":
		if d.db = d.stateFile(); d.db == "" {
			cleanUp, err = d.useTemporaryFile("dev")
		}
	}
	d.users = devUsers(d.token, d.db)
	return cleanUp, err
}
