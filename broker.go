package recall

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Durability says when a change counts as done.
type Durability uint8

const (
	// SyncAlways, the default, acknowledges a change when it is on stable
	// storage (fsync). Changes of concurrent calls share one commit.
	SyncAlways Durability = iota
	// SyncNever leaves writing to the operating system. A crash of the machine
	// can lose the whole file, not just the last seconds: for tests.
	SyncNever
)

// Options configure a [Broker]. The zero value of every field means its
// default, and a nil *Options is all defaults. Open and New keep a copy.
type Options struct {
	// Slots is how many attempts may run at once. The broker claims only as
	// many messages as it has free slots, so what waits stays cancellable.
	// Default 64.
	Slots int
	// Durability is SyncAlways unless set.
	Durability Durability
	// Retries is how many attempts may follow the first one of a message that
	// does not say. Default 3; see the function [Retries].
	Retries *int
	// Timeout bounds an attempt of a message that does not say. Default 30 s.
	Timeout time.Duration
	// Backoff returns how long to wait after a failed attempt; retried is how
	// many retries came before it, 0 after the first attempt. Default
	// [DefaultBackoff].
	Backoff func(retried int) time.Duration
	// MaxBody is the largest Message.Body in bytes. Default 1 MiB, at most 16 MiB.
	MaxBody int
	// MaxBatch is how many messages one PublishBatch may have. Default 10,000.
	MaxBatch int
	// MaxResponse is how much of a response body is read and kept with a dead
	// letter, or sent with a callback, in bytes. Default 64 KiB.
	MaxResponse int
	// MaxFileSize is the largest file in bytes; publishing is refused with
	// ErrFull before it is reached. Default no limit; 2 GB on 32-bit systems.
	MaxFileSize int64
	// UndoWindow is how long a bulk cancellation can be undone, see
	// [Broker.Restore]. Until then its messages keep their place in memory and
	// in the file. Default 10 minutes; negative: no undo, and the room is free
	// at once.
	UndoWindow time.Duration
	// UndoBytes bounds what all undoable cancellations together may hold, in
	// bytes of file and memory, as the average message takes. When there is
	// more, the oldest operation gives way. Default 1 GiB.
	UndoBytes int64
	// AuditRetention is how long the records of bulk operations are kept, see
	// [Broker.Cancellations]. Default 30 days.
	AuditRetention time.Duration
	// DeduplicationWindow is how long after a message with a deduplication id
	// another one with the same id is a duplicate, see [Message]. Default 10
	// minutes, at least a millisecond, at most [MaxDeduplicationWindow]; negative:
	// nothing is a duplicate. Ids that are reserved already get the window of the
	// newest open.
	DeduplicationWindow time.Duration
	// MaxDeduplicationIDs bounds how many ids are reserved at once. They stay in
	// memory, with 70 to 120 bytes each, and take about 40 of the file. What would
	// reserve more is refused with [ErrDeduplicationFull]. Default 1,000,000.
	MaxDeduplicationIDs int
	// DeadLetterRetention is how long dead letters are kept from when they died,
	// and MaxDeadLetters how many: what is older, and then the oldest of what is
	// more, is dropped in the background, at most 1,000 in a commit; the queue may
	// be larger until then. It is logged, and counted in Stats.DeadLettersDropped.
	// Default 30 days and 1,000,000; negative: for ever, and any number. With
	// NoDispatch nothing is dropped unless the field is set.
	DeadLetterRetention time.Duration
	MaxDeadLetters      int
	// EventRetention is how long events are kept, see [Broker.Events]; a minute
	// more, as they are dropped in the background. Default 3 days.
	EventRetention time.Duration
	// MaxEvents is how many events are kept: beyond it the oldest are dropped, in
	// the background, when there are a thirty-second part or 256 more. They take 30 to 100
	// bytes each in the file. When a publish finds no room, the older half of the
	// log goes. [Broker.Stats] shows how many there are. Default 1,000,000.
	MaxEvents int
	// NoEvents writes none. Those that are in the file can be read, and are
	// dropped as ever.
	NoEvents bool
	// DeliveredRetention is how long messages can be read after their delivery, see
	// [Broker.Delivered]. Default 0: not at all, and it costs nothing. They stay in
	// memory until then.
	DeliveredRetention time.Duration
	// DeliveredBytes bounds the memory for that, in bytes; the oldest give way, and
	// a message that is larger is not kept. Default 16 MiB.
	DeliveredBytes int64
	// UpkeepRate bounds the commits per second that background work makes:
	// folding cancelled messages away and giving back their room. Default no
	// limit; see [Broker.SetUpkeepRate].
	UpkeepRate int
	// Transport makes the HTTP requests. The default is [NewTransport]: it keeps
	// as many idle connections per host as there are slots and follows
	// HTTP_PROXY. An error wrapped by [Permanent] makes the message a dead letter
	// at once. Package egress has one for servers that strangers publish to.
	Transport http.RoundTripper
	// OnRequest, if set, is called for each HTTP attempt before it is sent; it
	// may add headers, such as a signature. An error fails the attempt.
	OnRequest func(*http.Request, *Delivery) error
	// Observer is told of what is published, tried and cancelled, for traces and the
	// like. Default nil: nobody is, and it costs nothing.
	Observer *Observer
	// WaitFinish frees the slot of an attempt only when its outcome is durable.
	// The default frees it when the outcome is queued: faster, and still
	// at-least-once. Outcomes that nobody waits for are committed together, three
	// milliseconds after the first at most if there is no other commit under way. A
	// crash has what was delivered in that time, during the commits before and after
	// it, and while a function of Update runs, delivered again; what was on its last
	// attempt is a dead letter.
	WaitFinish bool
	// NoDispatch opens the file without delivering anything: to look, to
	// publish and to cancel.
	NoDispatch bool
	// Random is where ids have their random bits from: those of schedules and
	// operations, and the key of a new file, which tells ids of its messages from
	// guessed ones. Whoever knows it can guess ids, so it is for tests that want
	// the same ids in each run. It must be safe for concurrent use and not fail.
	// Default crypto/rand.
	Random io.Reader
	// Clock is the source of time. Default package time, or the clock of the engine
	// that New is given, if it is [Clocked].
	Clock Clock
	// Logger receives what people should know. Default slog.Default.
	Logger *slog.Logger
}

// Defaults and bounds of Options.
const (
	DefaultSlots       = 64
	DefaultRetries     = 3
	DefaultTimeout     = 30 * time.Second
	DefaultMaxBody     = 1 << 20
	DefaultMaxBatch    = 10_000
	DefaultMaxResponse = 64 << 10

	DefaultUndoWindow     = 10 * time.Minute
	DefaultUndoBytes      = 1 << 30
	DefaultAuditRetention = 30 * 24 * time.Hour

	DefaultDeadLetterRetention = 30 * 24 * time.Hour
	DefaultMaxDeadLetters      = 1_000_000
	DefaultEventRetention      = 3 * 24 * time.Hour
	DefaultMaxEvents           = 1_000_000
	DefaultDeliveredBytes      = 16 << 20

	maxSlots     = 1 << 16
	maxBodyBound = 16 << 20
	maxBatch     = 100_000
)

func (o *Options) withDefaults() *Options {
	var c Options
	if o != nil {
		c = *o
	}
	setDefault(&c.Slots, DefaultSlots)
	setDefault(&c.Timeout, DefaultTimeout)
	setDefault(&c.MaxBody, DefaultMaxBody)
	setDefault(&c.MaxBatch, DefaultMaxBatch)
	setDefault(&c.MaxResponse, DefaultMaxResponse)
	setDefault(&c.UndoWindow, DefaultUndoWindow)
	setDefault(&c.UndoBytes, DefaultUndoBytes)
	setDefault(&c.AuditRetention, DefaultAuditRetention)
	setDefault(&c.DeduplicationWindow, DefaultDeduplicationWindow)
	setDefault(&c.MaxDeduplicationIDs, DefaultMaxDeduplicationIDs)
	if c.NoDispatch { // who only looks must not drop what another process keeps for longer
		setDefault(&c.DeadLetterRetention, -1)
		setDefault(&c.MaxDeadLetters, -1)
	}
	setDefault(&c.DeadLetterRetention, DefaultDeadLetterRetention)
	setDefault(&c.MaxDeadLetters, DefaultMaxDeadLetters)
	setDefault(&c.EventRetention, DefaultEventRetention)
	setDefault(&c.MaxEvents, DefaultMaxEvents)
	setDefault(&c.DeliveredBytes, DefaultDeliveredBytes)
	if c.Retries == nil {
		c.Retries = Retries(DefaultRetries)
	} else {
		c.Retries = Retries(*c.Retries)
	}
	if c.Backoff == nil {
		c.Backoff = DefaultBackoff
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Clock == nil {
		c.Clock = systemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &c
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// validate reports every bad field at once.
func (o *Options) validate() error {
	within := func(field string, n, most int) error {
		if n < 1 || n > most {
			return invalid("Options."+field, "%d is not between 1 and %d", n, most)
		}
		return nil
	}
	errs := []error{
		within("Slots", o.Slots, maxSlots),
		within("MaxBody", o.MaxBody, maxBodyBound),
		within("MaxBatch", o.MaxBatch, maxBatch),
		within("MaxResponse", o.MaxResponse, maxBodyBound),
		within("MaxDeduplicationIDs", o.MaxDeduplicationIDs, maxDeduplicationIDs),
		o.checkDeduplication(),
		checkRetries("Options.Retries", o.Retries),
	}
	if o.Timeout < 0 || o.Timeout > MaxTimeout {
		errs = append(errs, invalid("Options.Timeout", "%v is not between 0 and %v", o.Timeout, MaxTimeout))
	}
	if o.Durability > SyncNever {
		errs = append(errs, invalid("Options.Durability", "%d is unknown", o.Durability))
	}
	for field, n := range map[string]int64{
		"MaxFileSize": o.MaxFileSize, "UndoBytes": o.UndoBytes,
		"AuditRetention": int64(o.AuditRetention), "UpkeepRate": int64(o.UpkeepRate),
		"EventRetention": int64(o.EventRetention), "MaxEvents": int64(o.MaxEvents),
		"DeliveredRetention": int64(o.DeliveredRetention), "DeliveredBytes": o.DeliveredBytes,
	} {
		if n < 0 {
			errs = append(errs, invalid("Options."+field, "%d is negative", n))
		}
	}
	return errors.Join(errs...)
}

// Broker publishes, delivers and takes back messages. All methods are safe for
// concurrent use. It promises:
//
//  1. No loss: Publish returns nil only after the message is durable.
//  2. At-least-once delivery, with one valid lease at a time: a stale owner,
//     also one from before a restart, can neither finish nor revive a message.
//  3. A cancelled message is counted once and never delivered afterwards.
//  4. The stop rule: at some instant during the call the reported blocker was
//     in flight; every earlier match is gone; nothing after it was touched.
//  5. Completeness: without a blocker, every match that was published before
//     the call is gone when it returns, and stays gone after a crash.
//  6. A bulk cancellation of any size is one commit: all of it or nothing.
type Broker struct {
	engine Engine
	shared SharedKeeper // the engine, if others change its objects, too; else nil
	opts   *Options
	clock  Clock
	log    *slog.Logger

	life     sync.RWMutex // held shared by every call, alone by Close
	closed   bool
	draining bool // closed, but running attempts may still call
	inCalls  sync.WaitGroup
	dispatch *dispatcher // nil with NoDispatch
	upkeep   *upkeep
	handlers handlers
	settings sync.Mutex // of queues and flow-control keys: held from reading to writing them

	outcomes  outcomes
	kept      *deliveredMessages // nil: none are
	reach     reach
	consumers *consumers
	hints     *hintSpreader

	topics    kept[*Topic]
	schedules kept[*schedule]
	scheduler *scheduler // nil with NoDispatch, or if the engine keeps no objects

	longestUpdate atomic.Int64
	droppedDead   atomic.Int64
	publishTime   durationHistogram
	errors        *errorCount
	upkeepRate    atomic.Int64 // commits per second; 0: no limit
}

// Open opens the file at path, creating it if there is none, and starts
// delivering what is due. What was in flight when the process died is pending
// again, except a message that has no attempt left (dead letter) or whose
// cancellation was requested (cancelled). One process at a time can hold a
// file.
//
// Errors: [ErrInUse], [ErrCorrupt], [ErrForeign], [ErrVersion], [ErrReadOnly],
// [ErrInvalid] for options, and those of the file system.
func Open(path string, opts *Options) (*Broker, error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("recall: open %s: %w", path, err)
	}
	o.Logger, _ = countErrors(o.Logger) // that of the engine, too
	engine, err := openEmbedded(path, o)
	if err != nil {
		return nil, fmt.Errorf("recall: open %s: %w", path, err)
	}
	return start(engine, o), nil
}

// New returns a broker on an engine, which it owns from then on: Close closes
// it. Options that are about the file are ignored.
func New(engine Engine, opts *Options) (*Broker, error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if engine == nil {
		return nil, invalid("engine", "it is nil")
	}
	if c, ok := engine.(Clocked); ok && (opts == nil || opts.Clock == nil) {
		o.Clock = c.Clock()
	}
	return start(engine, o), nil
}

// Options returns the options that the broker goes by, with the defaults filled
// in. Changing them changes nothing. It answers after Close too.
func (b *Broker) Options() Options {
	o := *b.opts
	o.Retries, o.Logger = Retries(*o.Retries), uncountedLogger(o.Logger)
	return o
}

func start(engine Engine, o *Options) *Broker {
	b := &Broker{engine: engine, opts: o, clock: o.Clock}
	b.shared, _ = engine.(SharedKeeper)
	b.log, b.errors = countErrors(o.Logger)
	b.upkeepRate.Store(int64(o.UpkeepRate))
	b.outcomes.broker = b
	b.kept = newDeliveredMessages(o)
	b.upkeep = startUpkeep(b)
	b.consumers = startConsumers(b)
	b.hints = newHintSpreader(b)
	if !o.NoDispatch {
		b.dispatch = startDispatch(b, b.hints.dispatch)
		b.scheduler = startScheduler(b)
	}
	go b.hints.loop()
	return b
}

// begin starts a call: after it succeeded, Close waits for the matching end.
func (b *Broker) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.checkTx(ctx); err != nil {
		return err
	}
	b.life.RLock()
	defer b.life.RUnlock()
	if b.closed && (!b.draining || !b.isAttempt(ctx)) {
		return ErrClosed
	}
	b.inCalls.Add(1)
	return nil
}

func (b *Broker) end() { b.inCalls.Done() }

// Close stops claiming, lets running attempts finish until ctx is done, then
// cancels their contexts, waits for them, and closes the file. Nothing is lost
// either way: an attempt that was cut short is not counted and its message is
// pending at the next Open. Close is idempotent; later calls return
// [ErrClosed]. It returns nil when everything is durable.
//
// Until the attempts have ended, handlers may go on publishing and cancelling
// with the context of their attempt; every other call is [ErrClosed] at once.
// A handler that ignores its context is waited for, also when ctx is done. A
// handler cannot close the broker that runs it, as that would wait for the
// handler: with its own context it is refused ([ErrInvalid]). So is a
// transaction.
//
// Consumers are not waited for: every [Broker.Receive] that waits returns
// ErrClosed, the contexts of what consumers hold end, and these messages are
// pending again at once, that attempt not counted.
func (b *Broker) Close(ctx context.Context) error {
	if b.isAttempt(ctx) {
		return invalid("ctx", "a handler cannot close the broker that runs it")
	}
	if err := b.checkTx(ctx); err != nil {
		return err
	}
	b.life.Lock()
	already := b.closed
	b.closed, b.draining = true, !already || b.draining
	b.life.Unlock()
	if already {
		return ErrClosed
	}
	if b.scheduler != nil {
		b.scheduler.stop()
	}
	b.consumers.stop()
	if b.dispatch != nil {
		b.dispatch.stop(ctx)
	}
	b.hints.stop()
	b.life.Lock()
	b.draining = false
	b.life.Unlock()
	b.upkeep.stop()
	b.inCalls.Wait()
	b.kept.close()
	return b.engine.Close()
}
