package enginetest

import (
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/recallmq/recall"
)

// condition is all that the model knows of a message at an instant.
type condition struct {
	phase    phase
	lease    recall.LeaseToken // of what is in flight; zero: nobody was told of it
	attempts int
}

// move says what a message may be after a call, given what it was before.
type move func(condition) []condition

// search looks for instants for all that was said of each message.
func (t *trial) search() {
	for _, d := range t.deeds {
		if d.Verb == DeedBulk && d.told() {
			t.met(d, d.Blocker)
			for _, id := range d.IDs {
				t.met(d, id)
			}
		}
	}
	senseless := 0
	for _, m := range t.messages {
		if !m.seen {
			continue
		}
		switch porcupine.CheckOperationsTimeout(t.model(), t.moves(m), longestSearch) {
		case porcupine.Ok:
			continue
		case porcupine.Illegal:
			t.fault("there is no order in which what was said of %s makes sense:\n%s", m.name, t.told(m))
		case porcupine.Unknown:
			t.fault("no order was found in which what was said of %s makes sense:\n%s", m.name, t.told(m))
		}
		if senseless++; senseless == mostSenseless {
			t.fault("the other messages were not looked at")
			return
		}
	}
}

// What makes sense is found to do so at once. What does not can take more time and memory
// than there is, and so can each of many.
const (
	longestSearch = 20 * time.Second
	mostSenseless = 5
)

// met notes that a bulk call says that a message was in flight.
func (t *trial) met(d *Deed, id recall.MessageID) {
	switch m := t.byID[id]; {
	case id == "":
	case m == nil: // its publication was not answered, and nobody has seen it since
	default:
		m.deeds = append(m.deeds, d)
	}
}

// told is all that was said of a message, for people.
func (t *trial) told(m *tried) string {
	var b strings.Builder
	b.WriteString(m.publish.String() + "\n")
	for _, d := range slices.Concat(m.deeds, m.ends) {
		b.WriteString(d.String() + "\n")
	}
	if m.found != nil {
		b.WriteString(string(m.found.Place) + " in the end\n")
	}
	return b.String()
}

// model is one in which a lease may end by itself, if its process has lost it.
func (t *trial) model() porcupine.Model {
	return (&porcupine.NondeterministicModel{
		Init: func() []any { return []any{condition{phase: phaseAbsent}} },
		Step: func(state, input, _ any) (after []any) {
			s := state.(condition)
			for _, to := range input.(move)(s) {
				after = append(after, to)
			}
			if s.phase == phaseInFlight && !t.kept[s.lease.Epoch] {
				for _, to := range input.(move)(condition{phase: phasePending, attempts: s.attempts}) {
					after = append(after, to)
				}
			}
			return after
		},
	}).ToModel()
}

// moves are the steps of one message.
func (t *trial) moves(m *tried) (ops []porcupine.Operation) {
	add := func(d *Deed, do move) {
		ops = append(ops, porcupine.Operation{ClientId: d.Client, Input: do, Call: d.Began, Return: d.end()})
	}
	add(m.publish, steady(phaseAbsent, condition{phase: phasePending}))
	for _, d := range m.deeds {
		if do := m.move(d); do != nil && d.Answer == AnswerNothing {
			add(d, func(s condition) []condition { return append(do(s), untold(d, s)) })
		} else if do != nil {
			add(d, do)
		}
	}
	for _, d := range t.deeds {
		if d.Verb == DeedClaim && d.Answer == AnswerNothing && t.hidden(m) {
			add(d, claimedUnseen)
		}
	}
	if m.found != nil && m.found.Place == FoundCancelled {
		if op := t.ops[m.found.Operation]; op != nil {
			add(op, steady(phasePending, condition{phase: phaseGone}))
		}
	}
	add(&Deed{Began: t.last, Ended: math.MaxInt64, Answer: AnswerDone}, m.looks)
	return ops
}

// untold is what a message is after a call that has done nothing and was not
// answered: nobody renews a lease that was to end.
func untold(d *Deed, s condition) condition {
	if d.Verb == DeedFinish && s.phase == phaseInFlight && s.lease == d.Leases[0] {
		s.lease = recall.LeaseToken{}
	}
	return s
}

// steady is a step from one phase to a condition.
func steady(from phase, to condition) move {
	return func(s condition) []condition {
		if s.phase != from {
			return nil
		}
		return []condition{to}
	}
}

// hidden tells whether there must have been attempts of which nobody was told.
func (t *trial) hidden(m *tried) bool {
	seen, most := 0, 0
	for _, d := range m.deeds {
		switch {
		case d.Verb == DeedClaim && d.Answer == AnswerDone:
			seen++
			most = max(most, d.Attempts[slices.Index(d.Names, m.name)])
		case d.Verb == DeedFinish && d.Outcome == recall.Release && d.Answer != AnswerFailed && d.Answer != AnswerLost:
			seen--
		}
	}
	if m.found != nil {
		most = max(most, m.found.Attempts)
	}
	return most > seen || m.found != nil && m.found.Place == FoundInFlight && !slices.ContainsFunc(m.deeds, func(d *Deed) bool {
		return d.Verb == DeedClaim && slices.Contains(d.Leases, m.found.Lease)
	})
}

// claimedUnseen is the claim of a process that was killed before it was answered, if it
// has got the message.
func claimedUnseen(s condition) []condition {
	if s.phase != phasePending {
		return []condition{s}
	}
	return []condition{s, {phase: phaseInFlight, attempts: s.attempts + 1}}
}

// move is what a call that names the message has done to it.
func (m *tried) move(d *Deed) move {
	switch d.Verb {
	case DeedClaim:
		return m.claims(d)
	case DeedFinish:
		return finishes(d)
	case DeedCancel:
		return cancelsOne(d)
	case DeedBulk:
		return func(s condition) []condition { return only(s, s.phase == phaseInFlight) }
	}
	return nil
}

func only(s condition, ok bool) []condition {
	if !ok {
		return nil
	}
	return []condition{s}
}

func (m *tried) claims(d *Deed) move {
	if d.Answer != AnswerDone {
		return nil
	}
	i := slices.Index(d.Names, m.name)
	return func(s condition) []condition {
		if s.phase != phasePending || s.attempts+1 != d.Attempts[i] {
			return nil
		}
		return []condition{{phase: phaseInFlight, lease: d.Leases[i], attempts: d.Attempts[i]}}
	}
}

func finishes(d *Deed) move {
	valid := func(s condition) bool { return s.phase == phaseInFlight && s.lease == d.Leases[0] }
	switch d.Answer {
	case AnswerFailed:
		return nil
	case AnswerLost:
		return func(s condition) []condition { return only(s, !valid(s)) }
	}
	return func(s condition) []condition {
		if !valid(s) {
			return nil
		}
		switch d.Outcome {
		case recall.Retry:
			return []condition{{phase: phasePending, attempts: s.attempts}}
		case recall.Release:
			return []condition{{phase: phasePending, attempts: s.attempts - 1}}
		}
		return []condition{{phase: phaseGone}}
	}
}

func cancelsOne(d *Deed) move {
	switch d.Answer {
	case AnswerFailed:
		return nil
	case AnswerInFlight:
		return func(s condition) []condition { return only(s, s.phase == phaseInFlight) }
	case AnswerNotFound:
		return func(s condition) []condition { return only(s, s.phase == phaseGone || s.phase == phaseAbsent) }
	}
	return steady(phasePending, condition{phase: phaseGone})
}

// looks compares the end of the story with what was found.
func (m *tried) looks(s condition) []condition {
	is := phaseGone
	if m.found != nil && m.found.Place == FoundPending {
		is = phasePending
	} else if m.found != nil && m.found.Place == FoundInFlight {
		is = phaseInFlight
	}
	switch {
	case s.phase != is || is != phaseGone && s.attempts != m.found.Attempts:
		return nil
	case is == phaseInFlight && s.lease != (recall.LeaseToken{}) && s.lease != m.found.Lease:
		return nil
	}
	return []condition{s}
}
