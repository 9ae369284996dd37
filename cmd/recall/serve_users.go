package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall/qstash"
)

// credentials let the only user of a server in.
type credentials struct {
	tokenFile, readOnlyFile string
	currentKey, nextKey     string
}

func (c *credentials) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.tokenFile, "token-file", "", "file with tokens, one a line")
	f.StringVar(&c.readOnlyFile, "read-only-token-file", "", "file with tokens that may only look, one a line")
	f.StringVar(&c.currentKey, "current-signing-key", "", "key that deliveries are signed with")
	f.StringVar(&c.nextKey, "next-signing-key", "", "key that will follow it")
}

// chooseUsers says who is served. It refuses what would be open to everybody.
func (s *serve) chooseUsers() error {
	var configs []userConfig
	var err error
	if s.usersFile == "" {
		configs, err = s.onlyUser()
	} else {
		configs, err = s.severalUsers()
	}
	if err != nil {
		return err
	}
	if err := checkUsers(configs, s.usersFile != ""); err != nil {
		return err
	}
	if !slices.ContainsFunc(configs, func(c userConfig) bool { return c.databases != nil }) {
		if err := s.engine.idle(); err != nil {
			return err
		}
	}
	if err := s.makeFolder(); err != nil {
		return err
	}
	for _, c := range configs {
		queue := s.engine.engine
		queue.addresses, queue.shards = c.Engine, c.EngineShards
		s.users = append(s.users, &user{
			name: c.Name, file: c.file, engine: queue, tokens: c.Tokens, readOnly: c.ReadOnlyTokens,
			keys: qstash.NewKeys(c.CurrentSigningKey, c.NextSigningKey),
		})
		if c.CurrentSigningKey == "" {
			s.log.Info("no signing keys given: a pair is made up and kept with the queue; GET /v2/keys names it", "queue", c.file)
		}
	}
	return nil
}

// onlyUser has the flags, and where they are silent the environment.
func (s *serve) onlyUser() ([]userConfig, error) {
	c := userConfig{file: s.db, CurrentSigningKey: s.credentials.currentKey, NextSigningKey: s.credentials.nextKey}
	if s.data != "" {
		return nil, usagef("--data goes with --users; the file of the only user is --db")
	}
	if err := s.onlyEngine(&c); err != nil {
		return nil, err
	}
	c.Tokens = nonEmpty(s.token)
	if err := c.readTokens(s.credentials.tokenFile, s.credentials.readOnlyFile); err != nil {
		return nil, err
	}
	if len(c.Tokens) == 0 {
		c.Tokens = firstNonEmpty(os.Getenv("RECALL_TOKEN"), os.Getenv("QSTASH_TOKEN"))
	}
	if len(c.ReadOnlyTokens) == 0 {
		c.ReadOnlyTokens = nonEmpty(os.Getenv("RECALL_READ_ONLY_TOKEN"))
	}
	if c.CurrentSigningKey == "" && c.NextSigningKey == "" {
		c.CurrentSigningKey, c.NextSigningKey = os.Getenv("QSTASH_CURRENT_SIGNING_KEY"), os.Getenv("QSTASH_NEXT_SIGNING_KEY")
	}
	switch {
	case len(c.Tokens) == 0:
		return nil, usagef("serve needs a token: --token, --token-file, or RECALL_TOKEN or QSTASH_TOKEN in the environment")
	case c.file == "":
		return nil, usagef("serve needs a file or a database: --db or --engine, or --users for several users")
	}
	return []userConfig{c}, nil
}

// onlyEngine has the flags, and without them and a file the environment.
func (s *serve) onlyEngine(c *userConfig) (err error) {
	if c.Engine, err = s.engine.find(s.db); err != nil {
		return err
	}
	if c.Engine != nil {
		c.EngineShards = s.engine.shards
	}
	return c.readEngine("")
}

// severalUsers are those of the file, each with an engine or a file of messages in the
// folder.
func (s *serve) severalUsers() ([]userConfig, error) {
	if s.db != "" || s.engine.given() || s.engine.shards != 0 || s.token != "" || s.credentials != (credentials{}) {
		return nil, usagef("with --users there is neither --db nor --engine nor a token nor a key on the command line: they are those of the users")
	}
	configs, err := readUsers(s.usersFile)
	if err != nil {
		return nil, err
	}
	for i := range configs {
		if configs[i].databases != nil {
			continue
		}
		if s.data == "" {
			return nil, usagef("--users needs --data: the folder with a file for each user that has no engine")
		}
		configs[i].file = filepath.Join(s.data, configs[i].Name+".db")
	}
	return configs, nil
}

// makeFolder makes that of --data, but not those above it: they may be missing
// because a disk is.
func (s *serve) makeFolder() error {
	if s.data == "" {
		return nil
	}
	if err := os.Mkdir(s.data, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("--data: %w", err)
	}
	return nil
}

func nonEmpty(texts ...string) (list []string) {
	for _, text := range texts {
		if text != "" {
			list = append(list, text)
		}
	}
	return list
}

func firstNonEmpty(texts ...string) []string {
	list := nonEmpty(texts...)
	return list[:min(1, len(list))]
}
