package postgres

import (
	"cmp"
	"fmt"
	"log/slog"
	"math"
	"regexp"
	"time"

	"github.com/recallmq/recall"
)

// Options are what can be set about an engine. The zero value of a field is its
// default.
type Options struct {
	// Schema is the name of the schema that holds the tables; "recall" by default.
	// It is made if it is not there. Letters, digits and underscores, at most 40.
	Schema string
	// Shards is over how many shards the queue is spread, at most 256. It is fixed when
	// the queue is made. [Open] knows 1, which is its default; [OpenShards] any number
	// from that of the databases on, which is its default.
	Shards int
	// LeaseTime is how long messages of a process that is gone stay in flight; 20
	// seconds by default, at least 1. A process renews three times in it.
	LeaseTime time.Duration
	// PollInterval is how often a process asks for what others have published, and
	// whether they have changed topics or schedules; 250 milliseconds by default.
	PollInterval time.Duration
	// Listen has processes tell each other with NOTIFY that there is something to claim,
	// so that nobody has to wait for the next poll. It takes one more connection, on which
	// this process listens, and a small transaction after what it publishes, at most one
	// every 5 milliseconds. Both who publishes and who delivers need it. It is a hint:
	// what is lost is found by polling. Off by default, as PgBouncer in transaction mode
	// does not pass notifications on.
	Listen bool
	// AllowUnsafe lets a queue be opened on a server that may lose what it has
	// acknowledged, as fsync or synchronous_commit is off. For tests.
	AllowUnsafe bool
	// LongTransaction is how long a transaction of anybody may be open in the database
	// before there is a warning, at most one a minute; a minute by default. Negative: there
	// is none.
	LongTransaction time.Duration
	// Logger receives what people should know; slog.Default() by default.
	Logger *slog.Logger
	// ChunkSize is how many messages a bulk call takes in one transaction; 1,000 by
	// default.
	ChunkSize int
	// MaxGuarded is how many messages a bulk call with a guard may lock; 100,000 by
	// default.
	MaxGuarded int
	// UndoWindow, UndoBytes, DeduplicationWindow, MaxDeduplicationIDs, AuditRetention,
	// EventRetention, MaxEvents and NoEvents are those of recall.Options; so are their
	// defaults. UndoBytes counts bodies and headers, and 300 bytes for each message.
	UndoWindow          time.Duration
	UndoBytes           int64
	DeduplicationWindow time.Duration
	MaxDeduplicationIDs int
	AuditRetention      time.Duration
	EventRetention      time.Duration
	MaxEvents           int
	NoEvents            bool

	local func() time.Time // that of package time, but in tests
}

// The defaults of Options.
const (
	DefaultSchema       = "recall"
	DefaultLeaseTime    = 20 * time.Second
	DefaultPollInterval = 250 * time.Millisecond
	DefaultChunkSize    = 1000
	DefaultMaxGuarded   = 100_000

	DefaultLongTransaction = time.Minute
)

var schemaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,39}$`)

func (o *Options) resolve() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	r.Schema = cmp.Or(r.Schema, DefaultSchema)
	r.Shards = cmp.Or(r.Shards, 1)
	r.LeaseTime = cmp.Or(r.LeaseTime, DefaultLeaseTime)
	r.PollInterval = cmp.Or(r.PollInterval, DefaultPollInterval)
	r.ChunkSize = cmp.Or(r.ChunkSize, DefaultChunkSize)
	r.MaxGuarded = cmp.Or(r.MaxGuarded, DefaultMaxGuarded)
	r.ChunkSize, r.MaxGuarded = min(r.ChunkSize, math.MaxInt32), min(r.MaxGuarded, math.MaxInt32) // there may be one more
	r.UndoWindow = cmp.Or(r.UndoWindow, recall.DefaultUndoWindow)
	r.UndoBytes = cmp.Or(r.UndoBytes, recall.DefaultUndoBytes)
	r.MaxDeduplicationIDs = cmp.Or(r.MaxDeduplicationIDs, recall.DefaultMaxDeduplicationIDs)
	r.DeduplicationWindow = cmp.Or(r.DeduplicationWindow, recall.DefaultDeduplicationWindow)
	r.AuditRetention = cmp.Or(r.AuditRetention, recall.DefaultAuditRetention)
	r.EventRetention = cmp.Or(r.EventRetention, recall.DefaultEventRetention)
	r.MaxEvents = cmp.Or(r.MaxEvents, recall.DefaultMaxEvents)
	r.LongTransaction = cmp.Or(r.LongTransaction, DefaultLongTransaction)
	r.Logger = cmp.Or(r.Logger, slog.Default())
	if r.local == nil {
		r.local = localTime
	}
	return r, r.check()
}

func (o *Options) check() error {
	switch {
	case !schemaName.MatchString(o.Schema):
		return invalid("Options.Schema", "%q is not letters, digits and underscores", o.Schema)
	case o.Shards < 1 || o.Shards > MaxShards:
		return invalid("Options.Shards", "%d is not between 1 and %d", o.Shards, MaxShards)
	case o.LeaseTime < time.Second:
		return invalid("Options.LeaseTime", "%v is less than a second", o.LeaseTime)
	case o.PollInterval < 0 || o.ChunkSize < 0 || o.MaxGuarded < 0 || o.UndoWindow < 0 || o.DeduplicationWindow < 0 ||
		o.UndoBytes < 0 || o.MaxDeduplicationIDs < 0 || o.AuditRetention < 0 || o.EventRetention < 0 || o.MaxEvents < 0:
		return invalid("Options", "a limit is negative")
	}
	return nil
}

func invalid(field, format string, args ...any) error {
	return &recall.InvalidError{Field: field, Reason: fmt.Sprintf(format, args...)}
}
