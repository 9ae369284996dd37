package store

import (
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

	live, dead  map[uint64]bool
	states      map[uint64]State
	next, nextD uint64
	ops         [][16]byte // tombstones with something to fold
	opCount     byte
	requested   map[uint64]bool
	ended       []uint64 // some that are gone
	swept       *SweepResult
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
			dir: dir, live: map[uint64]bool{}, dead: map[uint64]bool{}, states: map[uint64]State{},
			requested: map[uint64]bool{}, next: 1, nextD: 1, swept: &swept,
		}
		m.open(t)
		defer func() { _ = m.s.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"put": m.put, "finish": m.finish, "die": m.die, "bury": m.bury, "state": m.state, "cancel": m.cancel,
			"request": m.request, "fold": m.fold, "sweep": m.sweep, "thin": m.thin, "jump": m.jump, "reopen": m.reopen,
			"": m.compare,
		})
		m.reopen(t)
	})
	if swept.Dropped < 20 || swept.Rewritten < 20 {
		t.Errorf("the stories are too tame: they dropped and rewrote few segments: %+v", swept)
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
	if got, want := keys(c.Live), slices.Sorted(maps.Keys(m.live)); !slices.Equal(got, want) {
		t.Fatalf("live: got %v, want %v", got, want)
	}
	if got, want := keys(c.Dead), slices.Sorted(maps.Keys(m.dead)); !slices.Equal(got, want) {
		t.Fatalf("dead: got %v, want %v", got, want)
	}
	for seq, r := range c.Live {
		want := m.states[seq]
		want.Requested = m.requested[seq]
		if r.State != want {
			t.Fatalf("state of %d: got %+v, want %+v", seq, r.State, want)
		}
	}
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

func (m *model) commit(t *rapid.T, fn func(*Tx) error) {
	if err := commit(m.s, fn); err != nil {
		t.Fatal(err)
	}
}

func (m *model) put(t *rapid.T) {
	n := rapid.IntRange(1, 20).Draw(t, "n")
	m.commit(t, func(tx *Tx) error { return put(tx, n, "body") })
	for range n {
		m.live[m.next] = true
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
		delete(m.live, seq)
		delete(m.states, seq)
		delete(m.requested, seq)
	}
}

func (m *model) finish(t *rapid.T) {
	seqs := m.some(t, m.live)
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
	seqs := m.some(t, m.live)
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

// state journals claims and retries, in one commit or in two.
func (m *model) state(t *rapid.T) {
	seqs := m.some(t, m.live)
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
			st.Claimed = st.Attempts
			retries = append(retries, Retry{seq, st.Due, st.Attempts, st.Class})
		case 2: // one failed and the next began, in one commit
			st.Attempts, st.Due, st.Class, st.HasRetry = max(st.Attempts, st.Claimed), -1, 1, true
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

func (m *model) cancel(t *rapid.T) {
	seqs := m.some(t, m.live)
	m.opCount++
	op := Operation{ID: [16]byte{1, m.opCount}, Kind: 1, Count: uint64(len(seqs))}
	half := rapid.IntRange(0, len(seqs)).Draw(t, "parts")
	m.commit(t, func(tx *Tx) error { return tx.Tombstone(op, 0, seqs[:half], nil) })
	m.commit(t, func(tx *Tx) error { return tx.Tombstone(op, 1, seqs[half:], nil) })
	m.gone(seqs)
	m.ops = append(m.ops, op.ID)
}

func (m *model) request(t *rapid.T) {
	seqs := m.some(t, m.live)
	if len(seqs) == 0 {
		t.Skip("nothing lives")
	}
	for range rapid.IntRange(1, 2).Draw(t, "times") {
		m.opCount++
		m.commit(t, func(tx *Tx) error { return tx.Tombstone(Operation{ID: [16]byte{1, m.opCount}}, 0, nil, seqs[:1]) })
	}
	m.requested[seqs[0]] = true
}

// fold takes one step of folding something.
func (m *model) fold(t *rapid.T) {
	limit := rapid.IntRange(1, 40).Draw(t, "limit")
	switch rapid.IntRange(0, 2).Draw(t, "what") {
	case 0:
		m.commit(t, func(tx *Tx) error { _, _, err := tx.FoldFinished(limit); return err })
	case 1:
		if len(m.ops) > 0 {
			var more bool
			m.commit(t, func(tx *Tx) (err error) { _, more, err = tx.FoldTombstone(m.ops[0], limit); return err })
			if !more {
				m.ops = m.ops[1:]
			}
		}
	case 2:
		if m.s.FoldStatePays() {
			m.commit(t, func(tx *Tx) error { _, err := tx.FoldState(limit); return err })
		}
	}
}

func (m *model) sweep(t *rapid.T) {
	m.commit(t, func(tx *Tx) error {
		r, err := tx.Sweep()
		m.swept.Dropped += r.Dropped
		m.swept.Rewritten += r.Rewritten
		return err
	})
}

// thin leaves little of the oldest segment, seals it and sweeps.
func (m *model) thin(t *rapid.T) {
	live := slices.Sorted(maps.Keys(m.live))
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
