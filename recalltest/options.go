package recalltest

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/recallmq/recall/qstash"
)

// Option changes what [New] and [Start] make.
type Option func(*options)

type options struct {
	noListener, bubble, concurrent, loopback, shuffled bool
	start                                              time.Time
	seed, shuffle                                      uint64
	seeded                                             bool
	token, currentKey, nextKey                         string
	log                                                *slog.Logger
}

// seededStart is the time at which the clock of a seeded server starts.
var seededStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func collect(opts []Option) *options {
	o := &options{
		token: qstash.DevToken, currentKey: qstash.DevCurrentSigningKey, nextKey: qstash.DevNextSigningKey,
		log: slog.New(slog.DiscardHandler),
	}
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}
	switch {
	case !o.start.IsZero():
	case o.seeded:
		o.start = seededStart
	default:
		o.start = wallNow()
	}
	return o
}

// NoListener opens no socket: the server is reached by [Server.Client] and
// [Server.Handler] only, and its URL is one that nothing else resolves.
func NoListener() Option { return func(o *options) { o.noListener = true } }

// Bubble is for servers within a testing/synctest bubble: no socket is opened,
// and time is that of the bubble. The program under test, its handlers and the
// queue then live in the same time, and [Server.Advance] is a time.Sleep that
// also waits for what has become due.
func Bubble() Option { return func(o *options) { o.noListener, o.bubble = true, true } }

// StartAt is what the clock shows at first, in milliseconds; in a bubble that is
// the bubble's to say. Default: the time of the machine, or with [Seed] the
// beginning of 2026.
func StartAt(t time.Time) Option { return func(o *options) { o.start = t } }

// Seed makes the ids of messages, schedules and operations the same in each run
// that makes the same calls in the same order at the same times.
func Seed(n uint64) Option { return func(o *options) { o.seeded, o.seed = true, n } }

// Shuffle mixes the order of messages that are due at the same time and have the
// same priority, by a seed: to find out what a program only gets right by luck.
// Without it they are delivered in the order in which they were published.
func Shuffle(seed uint64) Option { return func(o *options) { o.shuffled, o.shuffle = true, seed } }

// Concurrent makes attempts at the same time, as many as a broker does. Without
// it they are made one after the other, each when the outcome of the one before
// is stored, so that every run has the same order; only endpoints that are slow
// or hang let others pass. Handlers that wait for each other need Concurrent. In a
// [Bubble] requests arrive in order, and handlers run at the same time.
func Concurrent() Option { return func(o *options) { o.concurrent = true } }

// Loopback lets deliveries to addresses of this machine – 127.0.0.1, ::1,
// localhost – go there, over the network, unless an endpoint is scripted for
// them. Without it they are failures of the test like any other host.
func Loopback() Option { return func(o *options) { o.loopback = true } }

// Token is what requests must bear. Default qstash.DevToken.
func Token(token string) Option { return func(o *options) { o.token = token } }

// SigningKeys are the keys that deliveries are signed with, and that the server
// hands out. Default those of QStash's dev server.
func SigningKeys(current, next string) Option {
	return func(o *options) { o.currentKey, o.nextKey = current, next }
}

// Log receives what the broker and the server say. Default: nobody.
func Log(l *slog.Logger) Option { return func(o *options) { o.log = l } }

// random is the source of random bits of a seeded server.
type random struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func newRandom(seed uint64) *random {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return &random{source: rand.NewChaCha8(key)}
}

// Read implements io.Reader.
func (r *random) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(p)
}
