package recall

import (
	"slices"
	"time"

	"github.com/recallmq/recall/store"
)

// undoState is what is needed to undo bulk cancellations: until one expires,
// its messages stay in the index, marked, and in their segments. It is guarded
// by the engine's mu.
type undoState struct {
	window   time.Duration // negative: nothing can be undone
	most     int64         // bytes of undoable messages that may be held
	bytes    int64         // that are held
	undoable int           // burials that can be undone
	running  map[[16]byte]chan struct{}
	buried   []*burial // in the order of commits
}

// burial is one part of a cancellation on its way out of memory and file.
type burial struct {
	op      [16]byte
	mark    uint16   // that its entries bear
	seqs    []uint64 // not unlinked yet, ascending
	asked   []uint64 // whose cancellation was requested in flight
	size    int
	bytes   int64
	until   int64 // ms: undoable before that
	state   burialState
	restore *restoreWork // with burialRestoring
}

type burialState uint8

const (
	burialUndoable  burialState = iota
	burialRestoring             // an undo has it; it expires or is gone after that
	burialExpired               // its entries can be unlinked
	burialUnlinked              // its set can be folded
)

// mostUndoable bounds the operations that can be undone at a time: each has a
// number that its entries bear.
const mostUndoable = 16 << 10

func newUndoState(o *Options) undoState {
	return undoState{window: o.UndoWindow, most: o.UndoBytes, running: map[[16]byte]chan struct{}{}}
}

// begun and ended bracket a call that takes messages: it is undone as a whole,
// so not before it has ended, and its last part is buried.
func (e *embedded) begun(op [16]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.undo.running[op] = make(chan struct{})
}

func (e *embedded) ended(op [16]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	close(e.undo.running[op])
	delete(e.undo.running, op)
	e.undo.makeRoom()
	hint(e.upkeepHint)
}

// bury takes over a durable cancellation: it can be undone for a while, then it
// is unlinked and folded in the background.
func (e *embedded) bury(op store.Operation, mark uint16, seqs, asked []uint64) {
	if cap(seqs) > 2*len(seqs) {
		seqs = slices.Clone(seqs)
	}
	if len(seqs) == 0 { // then the number is free, and may be another call's by now
		mark = 0
	}
	b := &burial{op: op.ID, mark: mark, seqs: seqs, asked: asked, size: len(seqs)}
	b.bytes = int64(b.size) * e.bytesPerMessage()
	e.mu.Lock()
	e.undo.addLocked(b, op.At)
	lagging := e.undo.lagging()
	e.mu.Unlock()
	hint(e.upkeepHint)
	// Marks are not without number: if the background lags far behind, the
	// caller lends a hand.
	for lagging && e.unlinkSlice() {
	}
}

// askedLocked is bury for a request that concerns one message in flight.
func (u *undoState) askedLocked(op store.Operation, asked []uint64) {
	u.addLocked(&burial{op: op.ID, asked: asked}, op.At)
}

func (u *undoState) addLocked(b *burial, at int64) {
	b.until = at + u.window.Milliseconds()
	u.buried = append(u.buried, b)
	if u.window < 0 {
		u.state(b, burialExpired)
		return
	}
	u.undoable++
	u.bytes += b.bytes
	u.makeRoom()
}

// state moves a burial on.
func (u *undoState) state(b *burial, to burialState) {
	if b.state == burialUndoable && u.window >= 0 {
		u.undoable--
		u.bytes -= b.bytes
	}
	if b.state = to; to == burialExpired && len(b.seqs) == 0 {
		b.state = burialUnlinked
	}
}

// makeRoom lets the oldest operations go until what can be undone is within
// its bounds.
func (u *undoState) makeRoom() {
	for _, b := range u.buried {
		if u.bytes <= u.most && u.undoable <= mostUndoable {
			return
		}
		if b.state == burialUndoable && u.running[b.op] == nil {
			u.expire(b.op)
		}
	}
}

// expire ends the undo window of an operation, all parts at once.
func (u *undoState) expire(op [16]byte) {
	for _, b := range u.buried {
		if b.op == op && b.state == burialUndoable {
			u.state(b, burialExpired)
		}
	}
}

// lagging tells whether far more is waiting to be unlinked than can be undone.
func (u *undoState) lagging() bool {
	const lag = 1024
	return len(u.buried)-u.undoable > lag
}

// backlog is how many cancelled messages are still to be folded.
func (u *undoState) backlog() (n int) {
	for _, b := range u.buried {
		if b.state >= burialExpired {
			n += b.size
		}
	}
	return n
}

// expireStep lets go what can no longer be undone, and returns when there will
// be more.
func (e *embedded) expireStep(now time.Time) (next time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	u := &e.undo
	if u.undoable == 0 {
		return next
	}
	first := int64(0)
	for _, b := range u.buried {
		if b.state != burialUndoable || u.running[b.op] != nil {
			continue
		}
		if b.until = min(b.until, now.Add(u.window).UnixMilli()); b.until <= now.UnixMilli() { // the clock may have gone back
			u.state(b, burialExpired) // all parts of an operation expire at one time
		} else if first == 0 || b.until < first {
			first = b.until
		}
	}
	if first != 0 {
		next = time.UnixMilli(first)
	}
	return next
}

// bytesPerMessage is what a message takes on average, in the file and in
// memory.
func (e *embedded) bytesPerMessage() int64 {
	const memory = 105 // see ARCHITECTURE.md
	disk := e.store.Stats()
	if disk.Rows == 0 {
		return memory
	}
	return memory + (disk.UsedBytes-disk.FreeBytes)/int64(disk.Rows)
}

// unlinkSlice takes some messages of an expired cancellation out of the index.
func (e *embedded) unlinkSlice() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, b := range e.undo.buried {
		if b.state != burialExpired {
			continue
		}
		n := min(applySlice, len(b.seqs))
		e.live.unlinkAll(b.seqs[:n])
		if b.seqs = b.seqs[n:]; len(b.seqs) == 0 {
			b.seqs = nil
			e.undo.state(b, burialUnlinked)
			delete(e.marks, b.mark)
		}
		return true
	}
	return false
}

// foldable returns the oldest operations whose sets can be folded in one
// commit: all parts of each, since the store folds them together.
func (u *undoState) foldable() (ops [][16]byte) {
	const most = 256
	if len(u.buried) == u.undoable {
		return nil
	}
	waiting := map[[16]byte]bool{}
	for _, b := range u.buried {
		waiting[b.op] = waiting[b.op] || b.state != burialUnlinked || u.running[b.op] != nil
	}
	left := foldBatch
	for _, b := range u.buried {
		if waiting[b.op] {
			continue
		}
		waiting[b.op] = true // once
		ops = append(ops, b.op)
		if left -= b.size; left <= 0 || len(ops) == most {
			break
		}
	}
	return ops
}

// forget drops operations that are folded or undone.
func (u *undoState) forget(ops ...[16]byte) {
	gone := make(map[[16]byte]bool, len(ops))
	for _, op := range ops {
		gone[op] = true
	}
	u.buried = slices.DeleteFunc(u.buried, func(b *burial) bool { return gone[b.op] })
}
