package main

import (
	"cmp"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall/qstash"
)

func serveCommand() *cobra.Command {
	s := &server{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server with a file, a token and keys of your own",
		Long: `Run the server for production: with a file that stays, and a token that only you
know. The token is that of --token, or of RECALL_TOKEN, or of QSTASH_TOKEN in
the environment; a command line can be read by other users of the machine, so
the environment is the better place. The same goes for the signing keys, which
are QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY there.

It speaks plain HTTP. Put what ends TLS before it if others are to reach it.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.attach(cmd, slog.LevelInfo)
			s.readEnvironment()
			if err := s.checkProduction(); err != nil {
				return err
			}
			return s.run(cmd.Context())
		},
	}
	s.addFlags(cmd, "file that keeps the messages", "token that requests must bear")
	cmd.Flags().StringVar(&s.currentKey, "current-signing-key", "", "signing key that GET /v2/keys names")
	cmd.Flags().StringVar(&s.nextKey, "next-signing-key", "", "signing key that will follow it")
	return cmd
}

func (s *server) readEnvironment() {
	s.token = cmp.Or(s.token, os.Getenv("RECALL_TOKEN"), os.Getenv("QSTASH_TOKEN"))
	s.currentKey = cmp.Or(s.currentKey, os.Getenv("QSTASH_CURRENT_SIGNING_KEY"))
	s.nextKey = cmp.Or(s.nextKey, os.Getenv("QSTASH_NEXT_SIGNING_KEY"))
}

// checkProduction refuses what would be open to everybody.
func (s *server) checkProduction() error {
	switch {
	case s.token == "":
		return usagef("serve needs a token: --token, or RECALL_TOKEN or QSTASH_TOKEN in the environment")
	case s.token == qstash.DevToken:
		return usagef("serve needs a token of your own: this one is the public token of recall dev")
	case s.db == "":
		return usagef("serve needs a file: --db")
	case (s.currentKey == "") != (s.nextKey == ""):
		return usagef("serve needs both signing keys, or none")
	case s.currentKey == "":
		s.log.Warn("no signing keys given: GET /v2/keys names the public ones of recall dev")
	}
	return nil
}
