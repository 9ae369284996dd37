package postgres

import (
	"errors"
	"maps"
	"testing"
)

func TestRefused(t *testing.T) {
	good := map[string]string{"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "default_transaction_isolation": "read committed", "server_encoding": "UTF8"}
	for _, c := range []struct {
		name    string
		server  server
		setting map[string]string
		refused bool // without AllowUnsafe
		always  bool // with it, too
		doubts  int
	}{
		{name: "good", server: server{version: 150000}},
		{name: "newer", server: server{version: 180001}},
		{name: "too old", server: server{version: 140012}, refused: true, always: true},
		{name: "a standby", server: server{version: 160000, recovery: true}, refused: true, always: true},
		{name: "another encoding", server: server{version: 150000}, setting: map[string]string{"server_encoding": "LATIN1"}, refused: true, always: true},
		{name: "fsync", server: server{version: 150000}, setting: map[string]string{"fsync": "off"}, refused: true},
		{name: "synchronous_commit", server: server{version: 150000}, setting: map[string]string{"synchronous_commit": "off"}, refused: true},
		{name: "full_page_writes", server: server{version: 150000}, setting: map[string]string{"full_page_writes": "off"}, doubts: 1},
		{name: "local without standby", server: server{version: 150000}, setting: map[string]string{"synchronous_commit": "local"}},
		{name: "local", server: server{version: 150000, replicated: true}, setting: map[string]string{"synchronous_commit": "local"}, doubts: 1},
		{name: "remote_write", server: server{version: 150000, replicated: true}, setting: map[string]string{"synchronous_commit": "remote_write"}, doubts: 1},
		{name: "isolation", server: server{version: 150000}, setting: map[string]string{"default_transaction_isolation": "serializable"}, doubts: 1},
		{name: "a relative that lacks settings", server: server{version: 150000}, setting: map[string]string{"fsync": "", "full_page_writes": "", "server_encoding": ""}},
	} {
		s := c.server
		s.settings = maps.Clone(good)
		maps.Copy(s.settings, c.setting)
		for allow, want := range map[bool]bool{false: c.refused, true: c.always} {
			if err := s.refused(allow); errors.Is(err, ErrServer) != want || (err != nil) != want {
				t.Errorf("%s, with AllowUnsafe %v: %v, want one: %v", c.name, allow, err, want)
			}
		}
		if got := s.doubts(); len(got) != c.doubts {
			t.Errorf("%s: doubts %v, want %d", c.name, got, c.doubts)
		}
	}
}
