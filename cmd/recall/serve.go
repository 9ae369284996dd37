package main

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall/egress"
	"github.com/recallmq/recall/postgres"
)

// serve is a server for production.
type serve struct {
	server
	credentials   credentials
	engine        engineFlags
	usersFile     string
	data          string
	trusted       []string
	allowPrivate  bool
	allowedRanges []string
}

func serveCommand() *cobra.Command {
	s := &serve{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server with files, tokens and keys of your own",
		Long: `Run the server for production.

For one user, --db names the file, or --engine a database. The tokens are those of --token and
--token-file, or else RECALL_TOKEN or QSTASH_TOKEN in the environment; a command
line can be read by other users of the machine, so a file or the environment is
the better place. A file of tokens has one a line. Tokens of
--read-only-token-file, or RECALL_READ_ONLY_TOKEN, may look and change nothing.
The signing keys are QSTASH_CURRENT_SIGNING_KEY and QSTASH_NEXT_SIGNING_KEY
there; without them a pair is made up and kept in the file, or the database.

On PostgreSQL several servers may have one queue, and any of them may end at any
time. --engine is postgres://user@host/database?schema=recall; the schema is made if
it is not there. Since others on the machine can read a command line, the
address may be in RECALL_ENGINE or in a file, --engine-file, or have no password
in it, with PGPASSWORD or a password file of PostgreSQL's.

With several addresses the queue is spread over as many databases: --engine
several times, a line each in the file, or with spaces between them in
RECALL_ENGINE. Every server needs all of them, in the same order, and the same
--engine-shards; both are fixed when the queue is made.

For several users, --users names a file that lists them, and --data the folder
with a file for each. Nothing that one does is seen by another:

  {"users": [
    {"name": "shop", "tokens": ["..."], "readOnlyTokens": ["..."],
     "currentSigningKey": "sig_...", "nextSigningKey": "sig_..."},
    {"name": "mail", "tokenFile": "mail.tokens",
     "engine": "postgres://recall@db.internal/queues?schema=mail"},
    {"name": "news", "tokens": ["..."], "engineShards": 8,
     "engine": ["postgres://recall@a.internal/news", "postgres://recall@b.internal/news"]}
  ]}

Deliveries go to public addresses only, which is checked at every connection.
--allow-private allows private networks and the loopback, --allow-cidr a range.

GET /healthz and GET /readyz need no token. SIGTERM ends the server in order;
/readyz says no from then on, for --drain-delay before connections are refused.

It speaks plain HTTP unless it has a certificate: --tls-cert and --tls-key. Both
files are read again when they change.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return s.start(cmd) },
	}
	s.addFlags(cmd, "file that keeps the messages of the only user", "token that requests must bear")
	f := cmd.Flags()
	s.credentials.addFlags(cmd)
	s.engine.addFlags(cmd, "address of a PostgreSQL database that keeps the messages of the only user, instead of --db")
	f.BoolVar(&s.engine.listen, "engine-listen", false, "have servers on the database tell each other of messages with NOTIFY, instead of asking for them four times a second; not through PgBouncer in transaction mode")
	f.DurationVar(&s.engine.lease, "engine-lease", postgres.DefaultLeaseTime, "how long other servers on the database wait for one that has gone, before they make its attempts again")
	f.StringVar(&s.usersFile, "users", "", "file that lists several users, in JSON")
	f.StringVar(&s.data, "data", "", "folder with a file for each of --users")
	f.StringSliceVar(&s.trusted, "trusted-proxies", nil, "addresses or ranges of proxies whose X-Forwarded-For is believed (repeatable)")
	f.BoolVar(&s.allowPrivate, "allow-private", false, "deliver to private networks and the loopback, too")
	f.StringSliceVar(&s.allowedRanges, "allow-cidr", nil, "deliver to this range of addresses, too (repeatable)")
	s.addOriginFlag(cmd)
	s.limits.addFlags(cmd)
	s.tls.addFlags(cmd)
	s.web.addFlag(cmd, "")
	s.logs.addFlags(cmd)
	s.addMetricsFlag(cmd)
	return cmd
}

func (s *serve) start(cmd *cobra.Command) error {
	if err := s.attach(cmd, slog.LevelInfo); err != nil {
		return err
	}
	s.access = slog.LevelInfo
	for _, step := range []func() error{s.limits.check, s.tls.check, s.web.check, s.readAddresses, s.checkOrigins, s.chooseUsers} {
		if err := step(); err != nil {
			return err
		}
	}
	return s.withMetrics(cmd.Context(), s.run)
}

// readAddresses reads the flags that are ranges.
func (s *serve) readAddresses() (err error) {
	if s.proxies, err = parseRanges("--trusted-proxies", s.trusted); err != nil {
		return err
	}
	allowed, err := parseRanges("--allow-cidr", s.allowedRanges)
	if err != nil {
		return err
	}
	if slices.Contains(allowed, everything4) && slices.Contains(allowed, everything6) {
		return nil // no policy, so that a proxy for deliveries can be used
	}
	s.policy = &egress.Policy{AllowPrivate: s.allowPrivate, Allow: allowed}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if os.Getenv(name) != "" {
			s.log.Warn("deliveries use no proxy, since nobody sees where it connects to; allow 0.0.0.0/0 and ::/0 to use it", "ignored", name)
		}
	}
	return nil
}

var (
	everything4 = netip.MustParsePrefix("0.0.0.0/0")
	everything6 = netip.MustParsePrefix("::/0")
)

// parseRanges reads addresses and ranges of them.
func parseRanges(flag string, texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, fault := netip.ParseAddr(text)
			if fault != nil {
				return nil, usagef("%s: %q is neither an address nor a range such as 10.0.0.0/8", flag, text)
			}
			p = netip.PrefixFrom(a.WithZone(""), a.BitLen())
		}
		list = append(list, plainRange(p))
	}
	return list, nil
}

// plainRange is a range of IPv4 in its own spelling, without bits behind it.
func plainRange(p netip.Prefix) netip.Prefix {
	const mapped = 96 // bits before the address of IPv4
	if p.Addr().Is4In6() && p.Bits() >= mapped {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p.Masked()
}
