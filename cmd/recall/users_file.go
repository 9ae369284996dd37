package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode"

	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/qstash"
)

// usersConfig is the file that --users names.
type usersConfig struct {
	Users []userConfig `json:"users"`
}

// userConfig is one user. Files of tokens are looked for beside the file.
type userConfig struct {
	Name              string    `json:"name"` // of the user's file, too
	Tokens            []string  `json:"tokens"`
	TokenFile         string    `json:"tokenFile"`
	ReadOnlyTokens    []string  `json:"readOnlyTokens"`
	ReadOnlyTokenFile string    `json:"readOnlyTokenFile"`
	CurrentSigningKey string    `json:"currentSigningKey"`
	NextSigningKey    string    `json:"nextSigningKey"`
	Engine            addresses `json:"engine"` // instead of a file
	EngineFile        string    `json:"engineFile"`
	EngineShards      int       `json:"engineShards"`

	file      string
	databases []string // what those of the engine are called
}

// readUsers reads the file strictly: a member that is misspelt is not a user who
// cannot get in, or one who can do too much.
func readUsers(path string) ([]userConfig, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--users: %w", err)
	}
	var c usersConfig
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return nil, usagef("--users: %s: %w", path, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, usagef("--users: %s: there is more behind the object", path)
	}
	for i := range c.Users {
		u := &c.Users[i]
		err := errors.Join(
			u.readTokens(beside(path, u.TokenFile), beside(path, u.ReadOnlyTokenFile)),
			u.readEngine(beside(path, u.EngineFile)),
		)
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", u.Name, err)
		}
	}
	return c.Users, nil
}

func beside(path, name string) string {
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// addresses are those of an engine: a text, or a list of them.
type addresses []string

// UnmarshalJSON implements [json.Unmarshaler].
func (a *addresses) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil {
		*a = nonEmpty(one)
		return nil
	}
	if json.Unmarshal(text, (*[]string)(a)) != nil { // its error would show a part of the text
		return errors.New("an engine is an address, or a list of addresses")
	}
	return nil
}

// readEngine fills in the addresses of the engine from a file, "" if there is none, and
// what it is called.
func (u *userConfig) readEngine(file string) (err error) {
	if file != "" && len(u.Engine) > 0 {
		return usagef("engine and engineFile exclude each other")
	}
	if file != "" {
		if u.Engine, err = readEngineFile(file); err != nil {
			return err
		}
	}
	switch {
	case u.EngineShards < 0 || u.EngineShards > postgres.MaxShards:
		return usagef("engineShards: %d is not between 1 and %d", u.EngineShards, postgres.MaxShards)
	case len(u.Engine) > 0:
		u.databases, err = (&engine{addresses: u.Engine, shards: u.EngineShards}).names()
		u.file = strings.Join(u.databases, ", ")
	case u.EngineShards != 0:
		return usagef("engineShards goes with an engine, and there is none")
	}
	return err
}

// readTokens adds what the files list; "" is none.
func (u *userConfig) readTokens(full, readOnly string) error {
	more, err := readTokenFile(full)
	if err != nil {
		return err
	}
	u.Tokens = append(u.Tokens, more...)
	more, err = readTokenFile(readOnly)
	u.ReadOnlyTokens = append(u.ReadOnlyTokens, more...)
	return err
}

// readTokenFile reads a token from each line, but for empty ones and those that
// begin with "#". A file without a token is a mistake.
func readTokenFile(path string) (list []string, err error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file of tokens cannot be read: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	if len(list) == 0 {
		return nil, usagef("%s has no token in it", path)
	}
	return list, nil
}

// userName is a name that is also one of a file, everywhere.
var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// checkUsers refuses what can only be a mistake, before any file is made. It
// names every fault, and no token. The one user of a server without --users has no
// name.
func checkUsers(list []userConfig, named bool) error {
	if len(list) == 0 {
		return usagef("--users: there are no users")
	}
	var faults []error
	names, tokens, engines := map[string]bool{}, map[string]bool{}, map[string]string{}
	for i := range list {
		for _, database := range list[i].databases {
			if other, there := engines[database]; there {
				faults = append(faults, fmt.Errorf("user %q: user %q has the same queue, %s", list[i].Name, other, database))
			}
			engines[database] = list[i].Name
		}
		for _, fault := range list[i].faults(names, tokens, named) {
			if list[i].Name != "" {
				fault = fmt.Sprintf("user %q: %s", list[i].Name, fault)
			}
			faults = append(faults, errors.New(fault))
		}
	}
	if len(faults) > 0 {
		return usageError{errors.Join(faults...)}
	}
	return nil
}

// faults are those of one user; names and tokens are those of the users before.
func (u *userConfig) faults(names, tokens map[string]bool, named bool) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	name := strings.ToLower(u.Name) // of files that may not differ in case alone
	if named {
		if !userName.MatchString(u.Name) {
			fault("the name %q is not 1 to 64 letters, digits, - and _, with no - or _ in front", u.Name)
		} else if names[name] {
			fault("there is another of that name")
		}
		names[name] = true
	}
	if len(u.Tokens)+len(u.ReadOnlyTokens) == 0 {
		fault("there is no token")
	}
	for _, token := range append(u.Tokens[:len(u.Tokens):len(u.Tokens)], u.ReadOnlyTokens...) {
		if text := badToken(token); text != "" {
			fault("%s", text)
		} else if tokens[token] {
			fault("a token is there twice, here or with another user")
		}
		tokens[token] = true
	}
	if (u.CurrentSigningKey == "") != (u.NextSigningKey == "") {
		fault("both signing keys are needed, or none")
	}
	return faults
}

// badToken says why a text cannot be a token, "" if it can.
func badToken(token string) string {
	isPublic := false
	for _, u := range qstash.DevUsers() {
		isPublic = isPublic || token == u.Token
	}
	switch {
	case token == "":
		return "a token is empty"
	case strings.ContainsFunc(token, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsGraphic(r) || r == ' ' }):
		return "a token has spaces or letters that no header can carry"
	case isPublic:
		return "serve needs tokens of your own: this one is a public token of recall dev"
	}
	return ""
}
