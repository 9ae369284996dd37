package main

import (
	"context"
	"strings"

	"github.com/recallmq/recall/qstash"
)

// announce says that clients can connect. SDKs that start the server wait for
// a line with "running at".
func (s *server) announce(in doors) {
	url := s.tls.scheme() + "://" + in.host()
	s.say("Recall is running at %s", url)
	if s.showSecrets {
		s.announceSecrets(url)
	}
	s.announceDashboard(url)
	switch {
	case s.temporary:
		s.say("Messages are kept in %s, which is removed at the end.", s.db)
	case s.showSecrets:
		s.say("Messages are kept in %s.", s.db)
	}
	if !in.local() && s.users[0].tokens[0] == qstash.DevToken {
		s.log.Warn("other machines can connect with a token that is public; choose one with --token", "address", in[0].Addr())
	}
}

// announceSecrets prints what a client needs, of the first user.
func (s *server) announceSecrets(url string) {
	u := s.users[0]
	current, next, err := u.keys.Get(context.Background())
	if err != nil {
		s.log.Error("the signing keys cannot be read", "error", err)
	}
	s.say("\n  QSTASH_URL=%s\n  QSTASH_TOKEN=%s\n  QSTASH_CURRENT_SIGNING_KEY=%s\n  QSTASH_NEXT_SIGNING_KEY=%s\n", url, u.tokens[0], current, next)
	var others []string
	for _, u := range s.users[1:] {
		others = append(others, u.name)
	}
	if len(others) > 0 {
		s.say("There are more users, each with a queue of their own: %s.", strings.Join(others, ", "))
	}
}
