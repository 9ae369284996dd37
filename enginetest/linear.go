package enginetest

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/anishathalye/porcupine"

	"github.com/recallmq/recall"
)

// linearizable lets concurrent clients loose on engines, several times on each,
// and checks what they were told. The environment variable RECALL_SEED repeats
// one of these histories again and again: the same calls, as far as the
// scheduler has them meet in the same way.
func linearizable(t *testing.T, open func(t *testing.T) Harness) {
	seed := seeds(t)
	for range size(10) {
		h := open(t)
		x := &fixture{TB: t, e: h.Engine, h: h, ctx: context.Background(), now: base}
		t.Cleanup(func() { _ = x.e.Close() }) // of what a failure left open
		for i := range 12 {
			checkHistory(x, seed(), numbered("h", i))
		}
		x.checkWhole()
		if h.Check != nil {
			x.check(h.Check(), "Check")
		}
		x.check(x.e.Close(), "Close")
	}
}

// seeds returns where the seeds of histories come from.
func seeds(t *testing.T) func() uint64 {
	given, ok := os.LookupEnv("RECALL_SEED")
	if !ok {
		return rand.Uint64
	}
	seed, err := strconv.ParseUint(given, 10, 64)
	if err != nil {
		t.Fatalf("RECALL_SEED: %v", err)
	}
	return func() uint64 { return seed }
}

// checkHistory records and checks one history.
func checkHistory(x *fixture, seed uint64, name string) {
	rng := rand.New(rand.NewPCG(seed, 0))
	h := record(x, rng, name, parts(x, rng))
	for message := range h.messages {
		if !h.linear(message) {
			x.Errorf("there is no order in which the calls about message %d make sense", message)
		}
	}
	for _, fault := range h.faults() {
		x.Error(fault)
	}
	if x.Failed() {
		x.Fatalf("history %s, RECALL_SEED=%d:\n%s", name, seed, h)
	}
}

// parts says how often the engine is opened again, and how. That costs more
// than all the rest, so most histories do without.
func parts(x *fixture, rng *rand.Rand) (all []partEnd) {
	for x.h.Reopen != nil && len(all) < 2 && rng.IntN(5) == 0 {
		all = append(all, []partEnd{closing, quietHalt, halt, halt}[rng.IntN(4)])
	}
	return append(all, stay)
}

// What a history of concurrent calls is held against is a model of one
// message. Calls about one message happen at an instant between their beginning
// and their end. CancelMatching does not: it walks, and takes each message at an
// instant of its own. So a history is cut into one for each message, in which
// every call that may concern the message is a step:
//
//   - What a call was told about a message is what the model must allow at that
//     instant: a claim that got it, a state, an error.
//   - A claim that did not get a message says nothing about it, and so does a
//     Finish that lost its lease to another one that was under way.
//   - A bulk cancellation finds every match that was published before it began.
//     What it finds pending it has taken, although the answer holds only a
//     number; what it finds in flight it names; what is gone, or has been asked
//     to go, it passes. A match whose publication overlaps the
//     call may be out of its sight. Matches after the blocker are no part of it:
//     had it taken one of them, a later step would find it gone and nobody to
//     have taken it.
//   - A Restore brings back what its cancellation has taken, and lifts its
//     requests, each at an instant of its own as well.
//   - A call that was never answered, because the engine was taken away, may
//     have had its effect before the restart, or none.
//   - A restart makes pending what was in flight, and ends what was asked to
//     go. A crash may also undo an end that was not durable, unless somebody
//     has been told that the message is gone.
//
// A search finds instants for all steps that fit together, or that there are
// none. Numbers – what a bulk cancellation says to have cancelled, and counts –
// concern several messages: [history.faults] accounts for them.

// standing is all that the model knows of a message at an instant.
type standing struct {
	phase phase
	lease int // of what is in flight
	// soft: the end is not known to be durable. A crash may undo it.
	soft bool
	by   *call // the bulk cancellation that has taken it, or asked it to go
	// lifted: a Restore that was never answered has lifted its request. After a
	// crash the request may hold again.
	lifted bool
}

type phase uint8

const (
	phaseAbsent phase = iota
	phasePending
	phaseInFlight
	phaseRequested // in flight, and asked to go
	phaseGone
)

func (s standing) out() bool { return s.phase == phaseInFlight || s.phase == phaseRequested }

var (
	absent  = standing{phase: phaseAbsent}
	pending = standing{phase: phasePending}
	gone    = standing{phase: phaseGone}
)

// step says what a message may be after a call, given what it was before; no
// answer means that the call cannot have been told what it was.
type step func(standing) []standing

// bulkPolicy is a way to call CancelMatching.
type bulkPolicy struct {
	name   string
	policy recall.Policy
	waits  bool
}

// asks tells whether the policy asks for the cancellation of what is in flight.
func (p bulkPolicy) asks() bool { return p.policy == recall.Sticky || p.policy == recall.Abort }

var bulkPolicies = []bulkPolicy{
	{name: "Stop", policy: recall.Stop},
	{name: "Wait", policy: recall.Stop, waits: true},
	{name: "Skip", policy: recall.Skip},
	{name: "Sticky", policy: recall.Sticky},
	{name: "Abort", policy: recall.Abort},
}

func stays(s standing) []standing { return []standing{s} }

// maybe is a step that need not have happened.
func maybe(do step) step {
	return func(s standing) []standing { return append(do(s), s) }
}

// from is a step that only one state allows.
func from(before, after standing) step {
	return func(s standing) []standing {
		if s.phase != before.phase {
			return nil
		}
		to := after
		to.lifted = s.lifted
		return stays(to)
	}
}

// steps returns what a call may have done to a message, and what it was told
// about it; none if it has nothing to do with it.
func (h *history) steps(c *call, message int) []step {
	switch c.verb {
	case verbClaim:
		return claimSteps(c, message)
	case verbBulk:
		return h.bulkSteps(c, message)
	case verbRestore:
		return h.restoreSteps(c, message)
	case verbReopen:
		return []step{c.restarts}
	case verbLook:
		return []step{func(s standing) []standing { return looks(s, c.stateOf(message)) }}
	case verbCount:
		return nil
	}
	if !c.names(message) {
		return nil
	}
	var do step
	switch c.verb {
	case verbInsert:
		do = from(absent, pending)
	case verbFinish:
		do = h.finishStep(c)
	case verbCancel:
		do = c.cancels
	case verbGet:
		do = c.gets
	}
	if c.said != saidNothing {
		return []step{do}
	}
	if c.verb == verbGet {
		return nil
	}
	return []step{maybe(do)}
}

// claimSteps: a claim that failed may have leased anything, and given it back.
func claimSteps(c *call, message int) []step {
	if c.said == saidNothing && len(c.messages) == 0 {
		unknown := standing{phase: phaseInFlight, lease: -int(c.began)}
		return []step{maybe(from(pending, unknown)), maybe(func(s standing) []standing {
			if s != unknown {
				return nil
			}
			return stays(pending)
		})}
	}
	for i, m := range c.messages {
		if m == message {
			do := from(pending, standing{phase: phaseInFlight, lease: c.leases[i]})
			if c.said == saidNothing {
				do = maybe(do)
			}
			return []step{do}
		}
	}
	return nil
}

func (h *history) finishStep(c *call) step {
	lease := c.leases[0]
	if c.said == saidLeaseLost {
		if h.contested(c) {
			return stays
		}
		return func(s standing) []standing {
			if s.out() && s.lease == lease {
				return nil
			}
			return stays(s)
		}
	}
	return func(s standing) []standing {
		switch {
		case !s.out() || s.lease != lease:
			return nil
		case s.phase == phaseRequested:
			return stays(gone)
		case c.ends():
			return stays(standing{phase: phaseGone, soft: !c.durable})
		}
		return stays(standing{phase: phasePending, lifted: s.lifted})
	}
}

// contested tells whether another Finish of the same lease was under way, which
// may have had it already although the message is still seen in flight.
func (h *history) contested(c *call) bool {
	for _, o := range h.calls {
		if o != c && o.verb == verbFinish && o.leases[0] == c.leases[0] && o.said != saidLeaseLost &&
			o.began < c.ended && c.began < o.ended {
			return true
		}
	}
	return false
}

func (c *call) cancels(s standing) []standing {
	switch {
	case c.said == saidNotFound:
		return goneForGood(s)
	case c.said == saidInFlight && s.out():
		return stays(s)
	case c.said == saidInFlight:
		return nil
	case s.phase == phasePending:
		return stays(gone)
	case c.sticky && s.phase == phaseInFlight:
		s.phase = phaseRequested
		return stays(s)
	case c.sticky && s.phase == phaseRequested:
		// Whether this request outlives that of a bulk cancellation which is
		// undone is left open.
		own := s
		own.by = nil
		return []standing{s, own}
	}
	return nil
}

// goneForGood is what a message is that somebody was told is not found: that is
// said only when it is durable.
func goneForGood(s standing) []standing {
	switch s.phase {
	case phaseAbsent:
		return stays(s)
	case phaseGone:
		s.soft = false
		return stays(s)
	}
	return nil
}

func (c *call) gets(s standing) []standing {
	switch {
	case c.said == saidNotFound:
		return goneForGood(s)
	case s.out() == (c.states[0] == recall.StateInFlight) && (s.out() || s.phase == phasePending):
		return stays(s)
	}
	return nil
}

// looks: a message that was asked to go is not listed any more.
func looks(s standing, state recall.State) []standing {
	is := map[phase]bool{phasePending: state != "" && state != recall.StateInFlight, phaseInFlight: state == recall.StateInFlight}
	if is[s.phase] || state == "" && s.phase != phasePending && s.phase != phaseInFlight {
		return stays(s)
	}
	return nil
}

func (c *call) restarts(s standing) []standing {
	switch {
	case s.lifted:
		return []standing{gone, pending}
	case s.phase == phaseInFlight:
		return stays(pending)
	case s.phase == phaseRequested:
		return stays(gone)
	case s.phase == phaseGone && s.soft && c.crash:
		return []standing{gone, pending}
	}
	s.soft = false
	return stays(s)
}

func (h *history) bulkSteps(c *call, message int) []step {
	switch h.sight(c, message) {
	case blind:
		return nil
	case met:
		return []step{func(s standing) []standing { return c.finds(s, slices.Contains(c.asked, message)) }}
	case perhaps:
		return []step{maybe(c.passes)}
	}
	return []step{c.passes}
}

// passes is what a bulk cancellation does to a match that it says nothing about.
func (c *call) passes(s standing) []standing {
	switch {
	case s.phase == phasePending:
		return stays(standing{phase: phaseGone, by: c})
	case s.phase == phaseGone, s.phase == phaseRequested:
		s.soft = false
		return stays(s)
	case s.phase == phaseInFlight && c.said == saidNothing && c.policy.asks():
		return c.finds(s, true)
	}
	return nil
}

// finds is what it does to a match that it names.
func (c *call) finds(s standing, asked bool) []standing {
	if s.phase != phaseInFlight {
		return nil
	}
	if asked {
		s.phase, s.by = phaseRequested, c
	}
	return stays(s)
}

// restoreSteps: what the cancellation had not taken, or is over since, a Restore
// leaves as it is.
func (h *history) restoreSteps(c *call, message int) []step {
	if c.said == saidExpired || h.sight(c.undoes, message) == blind {
		return nil
	}
	do := func(s standing) []standing {
		switch {
		case s.by != c.undoes:
		case s.phase == phaseGone:
			return stays(pending)
		case s.phase == phaseRequested:
			s.phase, s.by, s.lifted = phaseInFlight, nil, c.said == saidNothing
		}
		return stays(s)
	}
	if c.said == saidNothing {
		do = maybe(do)
	}
	return []step{do}
}

// sight says what a bulk cancellation had to do with a message.
type sight uint8

const (
	blind   sight = iota // nothing
	perhaps              // it may have taken or passed the message
	passed               // it has taken or passed it
	met                  // it says that the message is in flight
)

// sight: a walk goes through the matches that were there when it began, in its
// order, up to its blocker.
func (h *history) sight(c *call, message int) sight {
	insert := h.messages[message].insert
	switch {
	case !h.matches(c, message) || insert == nil || insert.began > c.ended:
		return blind
	case c.meets(message):
		return met
	case c.said == saidInFlight && h.behind(message, c.blocker):
		return blind
	case c.said == saidNothing || insert.said == saidNothing || insert.ended > c.began:
		return perhaps
	}
	return passed
}

// linear tells whether there are instants for everything that concerns a
// message at which all of it makes sense.
func (h *history) linear(message int) bool {
	var ops []porcupine.Operation
	for _, c := range h.calls {
		for _, do := range h.steps(c, message) {
			ops = append(ops, porcupine.Operation{ClientId: c.client, Input: do, Call: c.began, Return: c.ended})
		}
	}
	return porcupine.CheckOperations(linearModel, ops)
}

var linearModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{absent} },
	Step: func(state, input, _ any) (after []any) {
		for _, s := range input.(step)(state.(standing)) {
			after = append(after, s)
		}
		return after
	},
}).ToModel()
