package store

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func soak() bool { return os.Getenv("RECALL_SOAK") != "" }

// model is what the file should hold, kept in plain maps.
type model struct {
	s          *Store
	file       string
	dir        string
	generation int

	rows        map[uint64]bool // messages that live, or do again if their cancellation is undone
	dead        map[uint64]bool
	states      map[uint64]State
	next, nextD uint64
	ops         []*modelOp
	opCount     byte
	ended       []uint64 // some that are gone
	swept       *SweepResult
}

// modelOp is an operation as it should be in the file.
type modelOp struct {
	Operation
	progress              Progress
	set, requested, taken []uint64
}

func (op *modelOp) span(seqs []uint64) {
	for _, seq := range seqs {
		if op.Last == 0 {
			op.First = seq
		}
		op.First, op.Last = min(op.First, seq), max(op.Last, seq)
	}
}

// cancelled tells which rows are in the set of an operation, by its position.
func (m *model) cancelled() map[uint64]int {
	in := map[uint64]int{}
	for i, op := range m.ops {
		if op.Restored == 0 {
			for _, seq := range op.set {
				in[seq] = i
			}
		}
	}
	return in
}

func (m *model) live() map[uint64]bool {
	live, cancelled := maps.Clone(m.rows), m.cancelled()
	maps.DeleteFunc(live, func(seq uint64, _ bool) bool { _, gone := cancelled[seq]; return gone })
	return live
}

// state is what the file says of a row.
func (m *model) state(seq uint64) State {
	st := m.states[seq]
	for _, op := range m.ops {
		st.Requested = st.Requested || op.Restored == 0 && slices.Contains(op.requested, seq)
	}
	return st
}

// TestStoreAgainstModel drives a file and plain maps with the same changes and
// compares them after every step and every reopen, clean or not. Numbers jump,
// so that there are several segments with few rows.
func TestStoreAgainstModel(t *testing.T) {
	var swept SweepResult
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "recall-store")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{
			dir: dir, rows: map[uint64]bool{}, dead: map[uint64]bool{}, states: map[uint64]State{},
			next: 1, nextD: 1, swept: &swept,
		}
		m.open(t)
		defer func() { _ = m.s.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"put": m.put, "finish": m.finish, "die": m.die, "bury": m.bury, "attempt": m.attempt, "cancel": m.cancel,
			"request": m.request, "restore": m.restore, "taken": m.taken, "drop": m.drop, "who": m.who, "change": m.change,
			"fold": m.fold, "sweep": m.sweep, "jump": m.jump, "reopen": m.reopen,
			// Segments go only in stories that seal some: these are not rare.
			"thin": m.thin, "thin again": m.thin, "thin once more": m.thin,
			"": m.compare,
		})
		m.reopen(t)
	})
	if swept.Dropped == 0 || swept.Rewritten == 0 {
		t.Errorf("the stories are too tame: they dropped or rewrote no segment: %+v", swept)
	}
}

var foldAlways = &Options{NoSync: true, Reserve: 1, MinFoldState: 1}

func (m *model) open(t *rapid.T) {
	var err error
	m.file = filepath.Join(m.dir, fmt.Sprint(m.generation, ".db"))
	if m.s, err = Open(m.file, foldAlways); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, m.s)
	m.compare(t)
}

// reopen closes the file, or leaves it as a crash would, and opens it again.
func (m *model) reopen(t *rapid.T) {
	if rapid.Bool().Draw(t, "crash") {
		data, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		m.generation++
		if err := os.WriteFile(filepath.Join(m.dir, fmt.Sprint(m.generation, ".db")), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.open(t)
}

// compare reads the file as a restart would, with a store that has learnt
// nothing yet. What it counts is what the running store should know.
func (m *model) compare(t *rapid.T) {
	s := restarted(t, m.s)
	c := mustLoad(t, s)
	if got, want := keys(c.Live), slices.Sorted(maps.Keys(m.live())); !slices.Equal(got, want) {
		t.Fatalf("live: got %v, want %v", got, want)
	}
	if got, want := keys(c.Dead), slices.Sorted(maps.Keys(m.dead)); !slices.Equal(got, want) {
		t.Fatalf("dead: got %v, want %v", got, want)
	}
	for seq, r := range c.Live {
		if want := m.state(seq); r.State != want {
			t.Fatalf("state of %d: got %+v, want %+v", seq, r.State, want)
		}
	}
	var ops []string
	for _, op := range m.ops {
		ops = append(ops, text(op.Operation, op.progress))
	}
	if !slices.Equal(c.Ops, ops) {
		t.Fatalf("operations: got %q, want %q", c.Ops, ops)
	}
	m.compareUndoable(t)
	if c.Head.NextSeq != m.next || c.Head.NextDead != m.nextD {
		t.Fatalf("head: got %+v, want %d and %d", c.Head, m.next, m.nextD)
	}
	if got := m.s.Head(); got != c.Head {
		t.Fatalf("head in memory: got %+v, want %+v", got, c.Head)
	}
	if !maps.EqualFunc(m.s.requested, s.requested, slices.Equal) {
		t.Fatalf("requested: memory has %v, the file %v", m.s.requested, s.requested)
	}
	if m.s.sizes != s.sizes {
		t.Fatalf("sizes: memory has %+v, the file %+v", m.s.sizes, s.sizes)
	}
	for tab := range tables {
		for n, seg := range m.s.segments[tab] {
			if got := s.segments[tab][n]; got == nil || got.stored != seg.stored || got.dead != seg.dead {
				t.Fatalf("segment %d of table %d: memory has %+v, the file %+v", n, tab, seg, got)
			}
		}
		if len(m.s.segments[tab]) != len(s.segments[tab]) {
			t.Fatalf("table %d: memory has %d segments, the file %d", tab, len(m.s.segments[tab]), len(s.segments[tab]))
		}
	}
}

// compareUndoable reads the file once more, with every other operation taken
// for one that can be undone.
func (m *model) compareUndoable(t *rapid.T) {
	undoable := func(op Operation) bool { return op.ID[1]%2 == 0 }
	want := map[uint64]State{}
	cancelled := m.cancelled()
	for seq := range m.rows {
		st := m.state(seq)
		if i, gone := cancelled[seq]; gone {
			if !undoable(m.ops[i].Operation) {
				continue
			}
			st.Cancelled, st.Operation = true, m.ops[i].ID
		}
		want[seq] = st
	}
	got := map[uint64]State{}
	err := restarted(t, m.s).Load(LoadFuncs{
		Row: func(tab Table, seq uint64, _ []byte, st State) error {
			if tab == Live {
				got[seq] = st
			}
			return nil
		},
		Tombstone: func(Operation, Progress) error { return nil },
		Undoable: func(op Operation) bool {
			if i := slices.IndexFunc(m.ops, func(o *modelOp) bool { return o.ID == op.ID }); len(m.ops[i].set) == 0 || m.ops[i].Restored != 0 {
				t.Fatalf("asked for operation %x, which has no set", op.ID)
			}
			return undoable(op)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("with what can be undone: got %v, want %v", got, want)
	}
}

func (m *model) commit(t *rapid.T, fn func(*Tx) error) {
	if err := commit(m.s, fn); err != nil {
		t.Fatal(err)
	}
}

func (m *model) put(t *rapid.T) {
	n := rapid.IntRange(1, 20).Draw(t, "n")
	m.commit(t, func(tx *Tx) error { return put(tx, n, "body") })
	for range n {
		m.rows[m.next] = true
		m.next++
	}
}

// jump leaves numbers out, as a failed commit may.
func (m *model) jump(t *rapid.T) {
	m.next += rapid.Uint64Range(1, 5000).Draw(t, "by")
	m.commit(t, func(tx *Tx) error {
		h := tx.head
		h.NextSeq = m.next
		return tx.SetHead(h)
	})
}

// some draws live messages.
func (m *model) some(t *rapid.T, from map[uint64]bool) (out []uint64) {
	for _, seq := range slices.Sorted(maps.Keys(from)) {
		if rapid.IntRange(0, 2).Draw(t, "take") == 0 {
			out = append(out, seq)
		}
	}
	return out
}

func (m *model) gone(seqs []uint64) {
	m.ended = append(m.ended, seqs...)
	for _, seq := range seqs {
		delete(m.rows, seq)
		delete(m.states, seq)
	}
}

func (m *model) finish(t *rapid.T) {
	seqs := m.some(t, m.live())
	if len(m.ended) > 0 && rapid.Bool().Draw(t, "again") { // cancelled while it was delivered
		seqs = append(seqs, rapid.SampledFrom(m.ended).Draw(t, "ended"))
	}
	fold := rapid.IntRange(0, 1).Draw(t, "fold") // background work joins the commits of others
	m.commit(t, func(tx *Tx) error {
		if err := tx.Finish(Live, slices.Clone(seqs)); err != nil || fold == 0 {
			return err
		}
		_, _, err := tx.FoldFinished(100)
		return err
	})
	m.gone(seqs)
}

// die moves a message to the dead letters.
func (m *model) die(t *rapid.T) {
	seqs := m.some(t, m.live())
	if len(seqs) == 0 {
		t.Skip("nothing lives")
	}
	m.commit(t, func(tx *Tx) error {
		h := tx.head
		h.NextDead++
		if err := putRow(tx, Dead, m.nextD, "dead"); err != nil {
			return err
		}
		if err := tx.SetHead(h); err != nil {
			return err
		}
		return tx.Finish(Live, seqs[:1])
	})
	m.gone(seqs[:1])
	m.dead[m.nextD] = true
	m.nextD++
}

func (m *model) bury(t *rapid.T) {
	seqs := m.some(t, m.dead)
	m.commit(t, func(tx *Tx) error { return tx.Finish(Dead, slices.Clone(seqs)) })
	for _, seq := range seqs {
		delete(m.dead, seq)
	}
}

// attempt journals claims and retries in one commit.
func (m *model) attempt(t *rapid.T) {
	seqs := m.some(t, m.live())
	var retries []Retry
	var claims []Claim
	for _, seq := range seqs {
		st := m.states[seq]
		switch rapid.IntRange(0, 2).Draw(t, "what") {
		case 0: // an attempt begins
			st.Claimed = max(st.Attempts, st.Claimed) + 1
			claims = append(claims, Claim{seq, st.Claimed})
		case 1: // it failed
			st.Attempts, st.Due, st.Class, st.HasRetry = max(st.Attempts, st.Claimed), int64(seq)*3, 2, true
			st.HasDue = false
			st.Claimed = st.Attempts
			retries = append(retries, Retry{seq, st.Due, st.Attempts, st.Class})
		case 2: // one failed and the next began, in one commit
			st.Attempts, st.Due, st.Class, st.HasRetry = max(st.Attempts, st.Claimed), -1, 1, true
			st.HasDue = false
			st.Claimed = st.Attempts + 1
			retries = append(retries, Retry{seq, st.Due, st.Attempts, st.Class})
			claims = append(claims, Claim{seq, st.Claimed})
		}
		m.states[seq] = st
	}
	m.commit(t, func(tx *Tx) error {
		if err := tx.Retry(retries); err != nil {
			return err
		}
		return tx.Claims(claims)
	})
}

// change changes what users can of a message.
func (m *model) change(t *rapid.T) {
	if rapid.Bool().Draw(t, "hold") {
		m.hold(t)
	} else {
		m.reschedule(t)
	}
}

// hold holds and releases in one commit; of two calls the later counts.
func (m *model) hold(t *rapid.T) {
	on, off := m.some(t, m.rows), m.some(t, m.rows)
	m.commit(t, func(tx *Tx) error {
		if err := tx.Hold(slices.Clone(on), true); err != nil {
			return err
		}
		return tx.Hold(slices.Clone(off), false)
	})
	for i, seqs := range [][]uint64{on, off} {
		for _, seq := range seqs {
			st := m.states[seq]
			st.Held = i == 0
			m.states[seq] = st
		}
	}
}

// reschedule gives some another due time, and some of them a retry in the same
// commit, whose due time does not count.
func (m *model) reschedule(t *rapid.T) {
	seqs := m.some(t, m.rows)
	due := rapid.Int64().Draw(t, "due")
	var retries []Retry
	for i, seq := range seqs {
		st := m.states[seq]
		st.HasDue, st.Due = true, due
		if i%3 == 0 {
			st.HasRetry, st.Attempts, st.Class = true, max(st.Attempts, st.Claimed), 7
			st.Claimed = st.Attempts
			retries = append(retries, Retry{seq, 1, st.Attempts, st.Class})
		}
		m.states[seq] = st
	}
	m.commit(t, func(tx *Tx) error {
		if err := tx.Reschedule(slices.Clone(seqs), due); err != nil {
			return err
		}
		return tx.Retry(retries)
	})
}

func (m *model) newOp(kind uint8) *modelOp {
	m.opCount++
	op := &modelOp{Operation: Operation{ID: [16]byte{1, m.opCount}, Kind: kind}}
	m.ops = append(m.ops, op)
	return op
}

// cancel takes some messages in two parts, and asks for others.
func (m *model) cancel(t *rapid.T) {
	seqs := m.some(t, m.live())
	op := m.newOp(1)
	asked := rapid.IntRange(0, min(2, len(seqs))).Draw(t, "asked")
	op.requested, op.set = seqs[:asked], seqs[asked:]
	half := rapid.IntRange(0, len(op.set)).Draw(t, "parts")
	m.commit(t, func(tx *Tx) error { return tx.Tombstone(op.Operation, 0, op.set[:half], op.requested) })
	m.commit(t, func(tx *Tx) error { return tx.Tombstone(op.Operation, 1, op.set[half:], nil) })
	op.Count, op.Requested = uint64(len(op.set)), uint64(len(op.requested))
	op.span(seqs)
	m.ended = append(m.ended, op.set...)
}

func (m *model) request(t *rapid.T) {
	seqs := m.some(t, m.live())
	if len(seqs) == 0 {
		t.Skip("nothing lives")
	}
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		op := m.newOp(0)
		m.commit(t, func(tx *Tx) error { return tx.Tombstone(op.Operation, 0, nil, seqs[:1]) })
		op.requested, op.Requested = seqs[:1], 1
		op.span(seqs[:1])
	}
}

func (m *model) anyOp(t *rapid.T) *modelOp {
	if len(m.ops) == 0 {
		t.Skip("no operations")
	}
	return rapid.SampledFrom(m.ops).Draw(t, "operation")
}

func (m *model) restore(t *rapid.T) {
	op := m.anyOp(t)
	lifts := openRequests(m.s, op.ID)
	var back, lifted int
	var err error
	m.commit(t, func(tx *Tx) error { back, lifted, err = tx.Restore(op.ID, 77, lifts); return nil })
	switch {
	case op.Restored != 0:
		if back != int(op.Back) || lifted != int(op.Lifts) || err != nil {
			t.Fatalf("undone again: %d back and %d lifted (%v), was %+v", back, lifted, err, op)
		}
	case op.progress != SetWhole:
		if !errors.Is(err, ErrFolded) {
			t.Fatalf("undone after a fold: %v", err)
		}
	case err != nil || back != len(op.set) || lifted != lifts:
		t.Fatalf("undone: %d back and %d lifted (%v), want %d and %d", back, lifted, err, len(op.set), lifts)
	default:
		op.Restored, op.Back, op.Lifts = 77, uint64(back), uint64(lifted)
		err := commit(m.s, func(tx *Tx) error { return tx.Tombstone(op.Operation, 9, []uint64{1}, nil) })
		if !errors.Is(err, ErrRestored) {
			t.Fatalf("another part of what was undone: %v", err)
		}
	}
}

// taken cancels messages on arrival, and some that ended in another way.
func (m *model) taken(t *rapid.T) {
	var op *modelOp
	if standing := slices.DeleteFunc(slices.Clone(m.ops), func(op *modelOp) bool { return op.Kind != 2 }); len(standing) > 0 && rapid.Bool().Draw(t, "again") {
		op = rapid.SampledFrom(standing).Draw(t, "standing")
	} else {
		op = m.newOp(2)
		op.Until = 99
		m.commit(t, func(tx *Tx) error { return tx.PutOperation(op.Operation) })
	}
	seqs := []uint64{m.next, m.next + 1}
	if len(m.ended) > 0 {
		seqs = append(seqs, rapid.SampledFrom(m.ended).Draw(t, "ended"))
	}
	m.next += 2
	op.Lifted++
	m.commit(t, func(tx *Tx) error {
		h := tx.head
		h.NextSeq = m.next
		if err := tx.SetHead(h); err != nil {
			return err
		}
		if err := tx.Taken(op.ID, slices.Clone(seqs)); err != nil {
			return err
		}
		return tx.PutOperation(Operation{ID: op.ID, Kind: 2, Until: 99, Lifted: op.Lifted, Count: 1234, Restored: 5})
	})
	op.taken = append(op.taken, seqs...)
	op.Count += uint64(len(seqs))
	op.span(seqs)
}

func (m *model) drop(t *rapid.T) {
	op := m.anyOp(t)
	want := (op.progress == SetFolded || len(op.set) == 0 || op.Restored != 0) && openRequests(m.s, op.ID) == 0
	var got bool
	m.commit(t, func(tx *Tx) (err error) { got, err = tx.DropOperation(op.ID); return err })
	if got != want {
		t.Fatalf("dropped %v, want %v: %+v", got, want, op)
	}
	if got {
		m.ops = slices.DeleteFunc(m.ops, func(o *modelOp) bool { return o == op })
	}
}

// who asks for the operation that took a message.
func (m *model) who(t *rapid.T) {
	seq := rapid.Uint64Range(0, m.next).Draw(t, "seq")
	if len(m.ended) > 0 && rapid.Bool().Draw(t, "gone") {
		seq = rapid.SampledFrom(m.ended).Draw(t, "ended")
	}
	var want *modelOp
	for _, op := range m.ops {
		if op.Restored == 0 && slices.Contains(m.s.requested[seq], op.ID) {
			want = op
		}
	}
	for _, op := range m.ops {
		if op.Restored == 0 && (slices.Contains(op.set, seq) || slices.Contains(op.taken, seq)) {
			want = op
		}
	}
	op, found, err := m.s.WhoTook(seq)
	if err != nil || found != (want != nil) || found && op.ID != want.ID {
		t.Fatalf("who took %d: %x, %v (%v), want %+v", seq, op.ID, found, err, want)
	}
}

// fold takes one step of folding something.
func (m *model) fold(t *rapid.T) {
	limit := rapid.IntRange(1, 40).Draw(t, "limit")
	switch rapid.IntRange(0, 2).Draw(t, "what") {
	case 0:
		m.commit(t, func(tx *Tx) error { _, _, err := tx.FoldFinished(limit); return err })
	case 1:
		op := m.anyOp(t)
		var more bool
		m.commit(t, func(tx *Tx) (err error) { _, more, err = tx.FoldTombstone(op.ID, limit); return err })
		switch {
		case op.Restored != 0 || op.progress == SetFolded:
		case more:
			op.progress = SetFolding
		default:
			op.progress = SetFolded
		}
		if op.progress != SetWhole {
			m.gone(op.set)
		}
	case 2:
		if m.s.FoldStatePays() {
			m.commit(t, func(tx *Tx) error { _, err := tx.FoldState(limit); return err })
		}
	}
}

func (m *model) sweep(t *rapid.T) {
	m.commit(t, func(tx *Tx) error {
		r, err := sweepNext(tx)
		m.swept.Dropped += r.Dropped
		m.swept.Rewritten += r.Rewritten
		return err
	})
}

// thin leaves little of the oldest segment, seals it and sweeps.
func (m *model) thin(t *rapid.T) {
	live := slices.Sorted(maps.Keys(m.live()))
	if len(live) == 0 {
		t.Skip("nothing lives")
	}
	var seqs []uint64
	for _, seq := range live {
		if seq>>segmentBits == live[0]>>segmentBits {
			seqs = append(seqs, seq)
		}
	}
	keep := rapid.IntRange(0, len(seqs)/4).Draw(t, "keep")
	m.next = max(m.next, (live[0]>>segmentBits+1)<<segmentBits)
	m.commit(t, func(tx *Tx) error {
		h := tx.head
		h.NextSeq = m.next
		if err := tx.SetHead(h); err != nil {
			return err
		}
		return tx.Finish(Live, slices.Clone(seqs[keep:]))
	})
	m.gone(seqs[keep:])
	m.commit(t, func(tx *Tx) error { _, _, err := tx.FoldFinished(1 << 20); return err })
	m.sweep(t)
}
