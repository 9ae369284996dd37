package recall

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// embedded is the engine on one bbolt file: indexes in memory, a store on
// disk, and one committer goroutine between them that owns every write.
//
// Lock order: gate, then mu. Nothing blocks while mu is held: no send, no
// read of the file, no call into user code.
type embedded struct {
	store *store.Store
	ids   idCodec
	log   *slog.Logger

	aliases   aliases
	importing chan struct{} // has room for one call of Import

	gate      gate          // of walks and transactions
	queue     chan *request // to the committer
	undurable atomic.Int64  // requests that are queued, or in a commit
	gathering atomic.Bool   // a commit waits for more outcomes
	requests  sync.Pool     // of *request; not shared, so that an engine may live in a synctest bubble
	senders   sync.RWMutex  // held shared while sending; alone to close the queue
	closed    bool          // guarded by senders
	closing   chan struct{} // closed when Close begins
	committed chan struct{} // closed when the committer has left

	mu       sync.Mutex // guards everything below
	live     *index     // pending and in flight
	dead     *index     // the dead letter queue
	lanes    lanes
	leases   map[uint64]*lease // by sequence number
	retrying retrying
	awaited  awaited
	epoch    uint64
	number   uint64        // of the newest lease
	notes    []store.Claim // claims that no commit has noted yet
	noted    time.Time     // when the oldest of them was made
	crash    recovery
	kept     atomic.Int64        // outcomes that have found no room yet
	marks    map[uint16]*marking // by the number that entries bear
	last     uint16              // number of the newest marking
	undo     undoState
	standing []*standing // replaced by the committer
	objects  map[ObjectKind]map[string][]byte
	queues   queues
	flows    flows
	reserved reservedIDs
	upkeep   upkeepState
	stats    embeddedStats
	tally    tally // not guarded

	claimHint, upkeepHint chan struct{}
	// opened: since the last hint a queue or a key may have begun to let more be
	// claimed. The lists of those do not tell: who asks for states works them off, too,
	// and so does a claim for consumers, which does not take what others wait for.
	opened bool

	opIDs     opIDs
	retention time.Duration // of the records of operations
	opts      *Options      // for the callbacks of what a crash has ended
	logs      logOptions
}

// lease is what memory keeps of an attempt that is under way.
type lease struct {
	seq       uint64
	number    uint64
	attempt   uint16
	dueBefore int64         // ms: the due time that Release restores
	retried   bool          // flagRetried before the claim
	finishing bool          // a Finish has it
	final     bool          // and it ends the message: too late to ask for its cancellation
	noted     bool          // a commit names the claim
	logged    bool          // and the log of events does
	claimed   int64         // ms
	ended     chan struct{} // closed when the attempt is over; made by who waits
	flow      *flowKey      // that it counts for; nil: none
	queue     *fifo         // the same
}

// embeddedStats are counters that are kept under mu.
type embeddedStats struct {
	commits int64
	clamp   time.Duration
}

const (
	queueLength = 4096 // requests that may wait for a commit: the backlog bound
	commitRows  = 4096 // rows after which no further request joins a commit
	applySlice  = 256  // entries per lock hold after a commit
)

// OpenEngine opens the embedded engine on the file at path, for use with
// [New]; [Open] does both. Of the options those about the file are used –
// Durability, MaxFileSize, UndoWindow, UndoBytes, AuditRetention, EventRetention,
// MaxEvents, NoEvents, DeduplicationWindow, MaxDeduplicationIDs, Logger – and Clock, for what has
// expired by now, and Timeout, for the callbacks of messages that the last crash
// has ended. Errors are those of Open.
func OpenEngine(path string, opts *Options) (Engine, error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	return openEmbedded(path, o)
}

func openEmbedded(path string, o *Options) (Engine, error) {
	s, err := store.Open(path, &store.Options{NoSync: o.Durability == SyncNever, MaxSize: o.MaxFileSize, Random: o.Random})
	if err != nil {
		return nil, err
	}
	e, err := newEmbedded(s, o)
	if err != nil {
		_ = s.Abandon() // the first error says what is wrong, and a damaged file is not written to
		return nil, err
	}
	return e, nil
}

// newEmbedded rebuilds memory from the store and starts the committer.
func newEmbedded(s *store.Store, o *Options) (*embedded, error) {
	e := emptyEmbedded(s, o)
	now := o.Clock.Now().UnixMilli()
	todo, err := e.rebuild(now)
	if err != nil {
		return nil, err
	}
	go e.commitLoop()
	if err := e.settleCrash(todo, now); err != nil {
		_ = e.stop()
		return nil, err
	}
	hint(e.claimHint)
	hint(e.upkeepHint)
	return e, nil
}

// emptyEmbedded is an engine that has not read its store.
func emptyEmbedded(s *store.Store, o *Options) *embedded {
	e := &embedded{
		store: s, ids: newIDCodec(s.Key()), log: o.Logger,
		queue:   make(chan *request, queueLength),
		closing: make(chan struct{}), committed: make(chan struct{}),
		live: newIndex(true), dead: newIndex(false), lanes: newLanes(),
		leases: map[uint64]*lease{}, retrying: retrying{}, awaited: awaited{}, epoch: randomUint64(), marks: map[uint16]*marking{}, undo: newUndoState(o), retention: o.AuditRetention, opts: o,
		opIDs: opIDs{random: o.Random}, logs: newLogOptions(o),
		objects: map[ObjectKind]map[string][]byte{}, queues: newQueues(), flows: newFlows(), reserved: newReservedIDs(o),
		claimHint: make(chan struct{}, 1), upkeepHint: make(chan struct{}, 1), importing: make(chan struct{}, 1),
	}
	e.requests.New = newPooledRequest
	e.live.gone = e.aliases.remove
	e.live.countedOff = e.lanesDeadLocked
	return e
}

func hint(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Hints implements [Engine].
func (e *embedded) Hints() Hints { return Hints{Claim: e.claimHint, Maintain: e.upkeepHint} }

// Close implements [Engine].
func (e *embedded) Close() error {
	if err := e.saveFlows(); err != nil && !lost(err) {
		e.log.Warn("recall: what flow-control keys have used could not be written", "error", err)
	}
	if err := e.stop(); err != nil {
		return err
	}
	return e.store.Close()
}

// stop ends the committer when it has done what is queued.
func (e *embedded) stop() error {
	e.senders.Lock()
	if e.closed {
		e.senders.Unlock()
		return ErrClosed
	}
	e.closed = true
	close(e.closing)
	close(e.queue)
	e.senders.Unlock()
	<-e.committed
	return nil
}

// inFlightLocked counts the countable leases that q matches.
func (e *embedded) inFlightLocked(q *query) int {
	count := 0
	for seq := range e.leases {
		p, en := e.live.lookup(seq)
		if !en.exists() || en.phase != phaseInFlight || !en.countable() {
			continue
		}
		if seq >= q.lo && seq <= q.hi && e.live.matches(q, p, en, seq) {
			count++
		}
	}
	return count
}

// idCodec turns sequence numbers into ids and back. The entropy of an id is
// the sequence number and four bytes that only the holder of the key can
// compute: an id resolves by arithmetic, and a guessed one does not resolve.
type idCodec struct{ block cipher.Block }

func newIDCodec(key [16]byte) idCodec {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only a key of another length can fail
	}
	return idCodec{block}
}

func (c idCodec) make(seq uint64, created int64) (id ulid.ULID) {
	_ = id.SetTime(uint64(created)) // fails beyond the year 10889
	putUint48(id[6:], seq)
	check := c.check(&id)
	copy(id[12:], check[:])
	return id
}

// check is the start of one AES block over time and sequence number.
func (c idCodec) check(id *ulid.ULID) [4]byte {
	block := aesBlocks.Get().(*[aes.BlockSize]byte)
	defer aesBlocks.Put(block)
	*block = [aes.BlockSize]byte{}
	copy(block[:], id[:12])
	c.block.Encrypt(block[:], block[:])
	return [4]byte(block[:])
}

// aesBlocks are reused: what is given to a cipher.Block is on the heap.
var aesBlocks = sync.Pool{New: func() any { return new([aes.BlockSize]byte) }}

// resolve returns what an id names, if this file could have issued it.
func (c idCodec) resolve(id MessageID) (r resolvedID, ok bool) {
	u, err := id.ulid()
	if err != nil {
		return r, false
	}
	if check := c.check(&u); [4]byte(u[12:]) != check {
		return r, false
	}
	return resolvedID{seq: uint48(u[6:]), created: int64(u.Time())}, true
}

func putUint48(b []byte, n uint64) {
	binary.BigEndian.PutUint16(b, uint16(n>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(n))
}

func uint48(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

func randomUint64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// find returns the live entry that an id names, if it can still match or is
// being finished. The caller holds mu.
func (e *embedded) findLocked(r resolvedID) (*page, entry) {
	if r.seq > e.live.visible {
		return nil, entry{}
	}
	p, en := e.live.lookup(r.seq)
	if !en.exists() {
		return nil, entry{}
	}
	if created, _ := p.timesOf(r.seq, en); created != r.created {
		return nil, entry{}
	}
	return p, en
}

// checkOpen is for calls that read: those that write learn it from submit.
func (e *embedded) checkOpen(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e.senders.RLock()
	defer e.senders.RUnlock()
	if e.closed {
		return ErrClosed
	}
	return nil
}
