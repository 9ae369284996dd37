package main

import (
	"log/slog"
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"
)

// dev is a local QStash for development.
type dev struct {
	server
	port    int
	testAPI bool
}

func devCommand() *cobra.Command {
	d := &dev{}
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a local QStash: SDKs connect to it with no settings",
		Long: `Run a local QStash. Its token and signing keys are those that the SDKs know, so
they connect with no settings. They are public: anyone who reaches the address
can use the server.

Without --db, messages are kept in a file in the system's folder for temporary
files, which is removed at the end. With it, they stay.

The port is that of --port, or of --listen, or of QSTASH_DEV_PORT in the
environment, or 8080. Port 0 takes a free one.

With --test-api it is a queue for test suites in any language, which they steer
under /recall/v1/test: see docs/testing.md.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.start(cmd) },
	}
	d.addFlags(cmd, "file that keeps the messages (default: a temporary one)", "token that requests must bear (default: the public one)")
	cmd.Flags().IntVar(&d.port, "port", 0, "port to listen on, instead of that of --listen")
	cmd.Flags().BoolVar(&d.testAPI, "test-api", false, "serve tests: a clock that they move, endpoints that they script; nothing is kept")
	return cmd
}

func (d *dev) start(cmd *cobra.Command) error {
	d.attach(cmd, slog.LevelInfo)
	d.showSecrets = true
	var err error
	if d.listen, err = d.address(cmd.Flags().Changed); err != nil {
		return err
	}
	if d.testAPI {
		return d.runTestAPI(cmd.Context())
	}
	if d.db == "" {
		remove, err := d.useTemporaryFile("dev")
		if err != nil {
			return err
		}
		defer remove()
	}
	return d.run(cmd.Context())
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
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", usagef("%s: %q is not a port", from, port)
	}
	host, _, err := net.SplitHostPort(d.listen)
	if err != nil {
		return "", usagef("--listen: %w", err)
	}
	return net.JoinHostPort(host, port), nil
}
