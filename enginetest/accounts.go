package enginetest

import (
	"fmt"
	"math"
	"slices"

	"github.com/recallmq/recall"
)

// faults returns what is wrong in a history by plain accounting: it goes over
// the calls for each message and searches for nothing. It knows less of orders
// than the search for instants, and more of numbers:
//
//   - The stop rule: a blocker was in flight at some instant during the call,
//     and a call cancelled no more than there was before its blocker.
//   - Completeness: what a bulk cancellation had to take or to pass – without a
//     blocker every match that was published before the call began, with one
//     those before it – is gone when it returns: no call that begins later
//     gets it, also not after a restart. The same holds for what was delivered,
//     cancelled alone, found dead, or said to be not found.
//   - The books balance: each message ends in one way, and what was published
//     is what was delivered, died, was cancelled alone, or is still there, and
//     the sum of what all bulk cancellations say. Each of them says a number
//     that is possible for it alone.
//   - A count is at least what was there all the time, and at most what was
//     there at any.
//
// Where calls were not answered, numbers have bounds in place of a value.
func (h *history) faults() []string {
	a := &accounts{h: h, lives: make([]life, len(h.messages))}
	for i := range h.messages {
		a.live(i)
	}
	for _, c := range h.calls {
		switch c.verb {
		case verbBulk:
			a.stopRule(c)
		case verbCount:
			a.counted(c)
		}
	}
	a.balance()
	return a.found
}

type accounts struct {
	h     *history
	lives []life
	found []string
}

func (a *accounts) fault(format string, args ...any) {
	a.found = append(a.found, fmt.Sprintf(format, args...))
}

// life is what a history says for certain about one message.
type life struct {
	gone    mark    // from here on no call can get it
	retired mark    // from here on it is gone, or has been asked to go
	asked   int64   // it may have been asked to go from here on
	last    mark    // the last call that found it there
	ends    []*call // that ended it, each for certain
	maybe   bool    // a call may have ended it without having said so
	alive   bool    // listed at the end
	back    int64   // it may have been restored from here on: then it may be there again
}

// over tells whether it is known what became of the message.
func (l *life) over() bool { return l.alive || len(l.ends) > 0 }

// mark is an instant, and the call that set it.
type mark struct {
	at   int64
	call *call
}

func unset() mark { return mark{at: math.MaxInt64} }

func (m *mark) earlier(c *call) {
	if c.ended < m.at {
		*m = mark{c.ended, c}
	}
}

// live reads all that concerns a message.
func (a *accounts) live(message int) {
	l := &a.lives[message]
	l.gone, l.retired, l.asked, l.last.at, l.back = unset(), unset(), math.MaxInt64, -1, math.MaxInt64
	for _, c := range a.h.calls {
		if a.asks(c, message) {
			l.asked = min(l.asked, c.began)
		}
		if c.verb == verbRestore && c.said != saidExpired && a.h.sight(c.undoes, message) != blind {
			l.back = min(l.back, c.began)
		}
	}
	for _, c := range a.h.calls {
		a.ended(l, c, message)
		if there, _ := finds(c, message); there && c.began > l.last.at {
			l.last = mark{c.began, c}
		}
		if c.verb == verbLook {
			l.alive = c.stateOf(message) != ""
		}
	}
	for _, c := range a.h.calls {
		there, mayBeAsked := finds(c, message)
		end := &l.retired
		if mayBeAsked {
			end = &l.gone
		}
		if there && c.began > end.at && c.ended < l.back {
			a.fault("message %d was gone with %q, and there with %q", message, end.call, c)
		}
	}
}

// asks tells whether a call may have asked an attempt to be the last.
func (a *accounts) asks(c *call, message int) bool {
	if c.verb == verbBulk && c.policy.asks() {
		return a.h.sight(c, message) != blind
	}
	return c.verb == verbCancel && c.sticky && c.names(message) && (c.said == saidDone || c.said == saidNothing)
}

// finds tells whether a call was told that a message is there, and whether it
// would have been told the same of one that was asked to go.
func finds(c *call, message int) (there, mayBeAsked bool) {
	if c.verb == verbBulk {
		return c.meets(message), false
	}
	if !c.names(message) || c.said == saidNothing {
		return false, false
	}
	switch c.verb {
	case verbClaim, verbLook:
		return true, false
	case verbGet:
		return c.said == saidDone, c.states[0] == recall.StateInFlight
	case verbFinish:
		return c.said == saidDone, true
	case verbCancel:
		return c.said != saidNotFound, c.sticky || c.said == saidInFlight
	}
	return false, false
}

// ended notes what a call says, or leaves open, about the end of a message.
func (a *accounts) ended(l *life, c *call, message int) {
	switch {
	case c.verb == verbBulk:
		a.swept(l, c, message)
	case !c.names(message):
	case c.verb == verbInsert && c.said == saidNothing:
		l.maybe = true
	case c.said == saidNotFound && a.h.messages[message].insert.said == saidDone:
		l.gone.earlier(c)
		l.retired.earlier(c)
	case c.verb == verbCancel && c.said == saidNothing || c.verb == verbFinish && c.said == saidNothing:
		l.maybe = true
	case c.verb == verbCancel && c.sticky && c.said == saidDone && l.back < math.MaxInt64:
		l.retired.earlier(c)
		l.maybe = true // a Restore may lift the request with that of its own call
	case c.verb == verbCancel && c.said == saidDone:
		l.retired.earlier(c)
		l.ends = append(l.ends, c)
		if !c.sticky {
			l.gone.earlier(c)
		}
	case c.verb == verbFinish && c.said == saidDone && c.ends():
		if !c.durable && a.crashesAfter(c) {
			l.maybe = true
			return
		}
		l.ends = append(l.ends, c)
		l.gone.earlier(c)
		l.retired.earlier(c)
	}
}

// swept notes that a bulk cancellation has gone past a message.
func (a *accounts) swept(l *life, c *call, message int) {
	switch sight := a.h.sight(c, message); {
	case c.said == saidNothing && sight != blind:
		l.maybe = true
	case slices.Contains(c.asked, message):
		l.maybe = true // the end of its attempt may be its own
		l.retired.earlier(c)
	case sight == passed:
		l.retired.earlier(c)
		if l.asked > c.ended {
			l.gone.earlier(c)
		}
	}
}

func (a *accounts) crashesAfter(c *call) bool {
	for _, o := range a.h.calls {
		if o.verb == verbReopen && o.crash && o.began > c.began {
			return true
		}
	}
	return false
}

// stopRule checks that what a call says was in flight was so during it.
func (a *accounts) stopRule(c *call) {
	for i := range a.h.messages {
		if c.meets(i) && !a.inFlightDuring(i, c) {
			a.fault("%q: message %d was not in flight during the call", c, i)
		}
	}
}

func (a *accounts) inFlightDuring(message int, c *call) bool {
	for _, claim := range a.h.calls {
		if claim.verb == verbClaim && claim.began < c.ended && a.lasts(claim, message, c) {
			return true
		}
	}
	return false
}

// lasts tells whether the lease of a message that a claim has given, or may
// have given, is not over when c begins.
func (a *accounts) lasts(claim *call, message int, c *call) bool {
	i := slices.Index(claim.messages, message)
	if i < 0 {
		return claim.said == saidNothing && len(claim.messages) == 0
	}
	for _, end := range a.h.calls {
		over := end.verb == verbReopen || end.verb == verbFinish && end.said == saidDone && end.leases[0] == claim.leases[i]
		if over && end.began > claim.began && end.ended < c.began {
			return false
		}
	}
	return true
}

// counted checks a count against what was there all the time, and at any.
func (a *accounts) counted(c *call) {
	if c.said != saidDone {
		return
	}
	least, most := 0, 0
	for i := range a.h.messages {
		insert := a.h.messages[i].insert
		l := &a.lives[i]
		if !a.h.matches(c, i) || insert.began > c.ended || l.retired.at < c.began && l.back > c.ended {
			continue
		}
		most++
		if insert.said == saidDone && insert.ended < c.began && !a.touchedBefore(c, i) {
			least++
		}
	}
	if c.number < least || c.number > most {
		a.fault("%q: it is at least %d and at most %d", c, least, most)
	}
}

// touchedBefore tells whether a message may have ended, or been asked to go,
// before a call was over.
func (a *accounts) touchedBefore(c *call, message int) bool {
	for _, o := range a.h.calls {
		if o.began > c.ended {
			return false
		}
		switch {
		case o.verb == verbBulk && (a.h.mayTake(o, message) || slices.Contains(o.asked, message)),
			o.verb == verbCancel && o.names(message) && o.said != saidNotFound && o.said != saidInFlight,
			o.verb == verbFinish && o.names(message) && o.said != saidLeaseLost && o.ends():
			return true
		}
	}
	return false
}

// mayTake tells whether a bulk cancellation may have taken a message, as far as
// its own answer says.
func (h *history) mayTake(c *call, message int) bool {
	sight := h.sight(c, message)
	return sight == perhaps || sight == passed
}

// balance compares what bulk cancellations say with what is missing.
func (a *accounts) balance() {
	least, most, sum := map[*call]int{}, map[*call]int{}, 0
	missing, unclear := 0, 0
	for i := range a.h.messages {
		takers, certain := a.takers(i)
		switch {
		case len(takers) == 0 && certain:
			a.fault("message %d is gone, and nobody has ended it", i)
		case len(takers) == 1 && certain && a.lives[i].back == math.MaxInt64:
			least[takers[0]]++
		}
		for _, c := range takers {
			most[c]++
		}
		if certain {
			missing++
		} else if len(takers) > 0 && !a.lives[i].over() {
			unclear++
		}
	}
	for _, c := range a.h.calls {
		if c.verb != verbBulk || c.said == saidNothing {
			continue
		}
		if c.number < least[c] || c.number > most[c] {
			a.fault("%q: it is at least %d and at most %d", c, least[c], most[c])
		}
		back, perhaps := a.restored(c)
		sum += c.number - back
		unclear += perhaps
	}
	if sum < missing || sum > missing+unclear {
		a.fault("bulk cancellations say %d in all; missing are %d, and perhaps %d more", sum, missing, unclear)
	}
}

// takers returns the bulk cancellations that may have taken a message, and
// whether one of them has for certain.
func (a *accounts) takers(message int) (takers []*call, certain bool) {
	l := &a.lives[message]
	a.oneEnd(message)
	if l.over() && l.back == math.MaxInt64 {
		return nil, false
	}
	for _, c := range a.h.calls {
		if c.verb == verbBulk && c.said != saidNothing && a.h.mayTake(c, message) &&
			(l.back < math.MaxInt64 || l.gone.at > c.began && l.last.at < c.ended) {
			takers = append(takers, c)
		}
	}
	return takers, !l.maybe && !l.over()
}

// restored returns how many messages of a bulk cancellation came back, and how
// many may have. A second Restore says the same as the first.
func (a *accounts) restored(c *call) (back, perhaps int) {
	for _, o := range a.h.calls {
		switch {
		case o.verb != verbRestore || o.undoes != c:
		case o.said == saidDone:
			return o.number, 0
		case o.said == saidNothing:
			perhaps = c.number
		}
	}
	return 0, perhaps
}

// oneEnd checks that a message has ended at most once. What was asked to go may
// be delivered, but it is not dead.
func (a *accounts) oneEnd(message int) {
	l := &a.lives[message]
	var kinds [3]int // asked to go, delivered or dead, cancelled at once
	for _, c := range l.ends {
		switch {
		case c.verb == verbCancel && c.sticky:
			kinds[0] = 1
		case c.verb == verbCancel:
			kinds[2]++
		default:
			kinds[1]++
		}
	}
	if kinds[1]+kinds[2] > 1 {
		a.fault("message %d has ended more than once: %q", message, l.ends)
	}
	a.deadLetter(message, kinds[0] > 0)
}

// deadLetter checks that a message is dead if it died, and otherwise not.
func (a *accounts) deadLetter(message int, asked bool) {
	listed, died, may := false, false, false
	for _, c := range a.h.calls {
		switch {
		case c.verb == verbLook:
			listed = slices.Contains(c.dead, message)
		case c.verb == verbFinish && c.names(message) && c.outcome == recall.Dead && c.said != saidLeaseLost:
			may = true
			died = died || c.said == saidDone && (c.durable || !a.crashesAfter(c))
		}
	}
	if listed && !may || !listed && died && !asked && !a.lives[message].maybe {
		a.fault("message %d: among the dead letters: %v, died: %v", message, listed, died)
	}
}
