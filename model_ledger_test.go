package recall_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

// ledger keeps the books of TestModelDelivery. Handlers write into it from many
// goroutines; what is against the rules is a fault, told after the step.
type ledger struct {
	slots  int
	queues map[string]*queueBook

	mu       sync.Mutex
	parcels  []*parcel // in the order of publication
	byKey    map[string]*parcel
	reserved map[string]reservation // by deduplication id, topic and URL
	notices  map[notice]map[recall.MessageID]bool
	faults   []string

	running     int  // of the flow key "f"
	flowPaused  bool // that key
	periodBegan time.Time
	used        int // of the period of the flow key "r"

	since  time.Time // the schedule has not been paused since; zero: it is
	ticks  map[recall.MessageID]bool
	wanted int // ticks up to the last pause
}

// queueBook is what is known of a queue.
type queueBook struct {
	places int
	paused bool
}

// parcel is a message to one URL.
type parcel struct {
	key         string // its name and URL
	msg         recall.Message
	id          recall.MessageID
	number      int
	due, after  time.Time // it may be claimed when both have come
	attempts    int       // that count
	tries       int       // that were made
	running     bool
	ended, dead bool
	cancelled   bool
	first       *parcel // of which it is a duplicate
	owed        int     // callbacks that are not gone
}

type reservation struct {
	by    *parcel
	until time.Time
}

// notice is what a callback tells.
type notice struct {
	key     string
	retried int
	dead    bool
}

func newLedger(slots int) *ledger {
	return &ledger{
		slots: slots, queues: map[string]*queueBook{"q0": {places: 1}, "q1": {places: 1}},
		byKey: map[string]*parcel{}, reserved: map[string]reservation{},
		notices: map[notice]map[recall.MessageID]bool{}, ticks: map[recall.MessageID]bool{},
	}
}

func (l *ledger) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// fault notes what is against the rules; it is called with the lock held.
func (l *ledger) fault(format string, args ...any) {
	l.faults = append(l.faults, time.Now().UTC().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
}

func parcelKey(body []byte, url string) string {
	name, _, _ := strings.Cut(string(body), " ")
	return name + "@" + url
}

// add enters a message that is about to be published: its first attempt may begin
// before the call returns.
func (l *ledger) add(m recall.Message) *parcel {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := &parcel{key: parcelKey(m.Body, m.URL), msg: m, number: len(l.parcels), due: time.Now().Add(m.Delay), after: time.Now()}
	l.parcels = append(l.parcels, p)
	l.byKey[p.key] = p
	if m.DeduplicationID == "" {
		return p
	}
	id := m.DeduplicationID
	if m.Topic != "" {
		id += " " + m.Topic + " " + m.URL
	}
	if r := l.reserved[id]; time.Now().Before(r.until) {
		p.first = r.by
	} else {
		l.reserved[id] = reservation{p, time.Now().Add(recall.DefaultDeduplicationWindow)}
	}
	return p
}

func (l *ledger) receipt(t *rapid.T, p *parcel, r recall.Receipt) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.id != "" && p.id != r.ID {
		t.Fatalf("%s was delivered as %s, its receipt says %s", p.key, p.id, r.ID)
	}
	p.id = r.ID
	if r.Deduplicated != (p.first != nil) || p.first != nil && r.ID != p.first.id {
		t.Fatalf("the receipt of %s is %+v, a duplicate of %+v", p.key, r, p.first)
	}
}

func (p *parcel) live() bool { return !p.ended && !p.cancelled && p.first == nil }

// gone tells whether p keeps nobody of its queue waiting any more.
func (p *parcel) gone() bool { return !p.live() && p.owed == 0 }

// claimable tells whether p is due, but for queue and flow control.
func (p *parcel) claimable(now time.Time) bool {
	return p.live() && !p.running && !p.due.After(now) && !p.after.After(now)
}

// attempt is the handler of all parcels.
func (l *ledger) attempt(ctx context.Context, d *recall.Delivery) error {
	_, script, _ := strings.Cut(string(d.Body), " ")
	p, piece := l.attemptBegins(d, script)
	if p == nil {
		return nil
	}
	if piece == strings.ToUpper(piece) {
		select {
		case <-time.After(40*time.Second + 3*time.Millisecond):
		case <-ctx.Done():
			l.attemptIsCut(p)
			return ctx.Err()
		}
	}
	return l.attemptEnds(p, strings.ToLower(piece))
}

func (l *ledger) attemptBegins(d *recall.Delivery, script string) (p *parcel, piece string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p = l.byKey[parcelKey(d.Body, d.URL)]
	switch {
	case p == nil:
		l.fault("nobody has published %s to %s", d.Body, d.URL)
		return nil, ""
	case !p.claimable(time.Now()) || d.Attempt != p.attempts+1:
		l.fault("attempt %d at %s, which is %+v", d.Attempt, p.key, *p)
	}
	l.checkQueue(p)
	l.checkFlow(p)
	l.checkPriority(p)
	piece = scriptPiece(script, p.tries)
	p.id = d.ID
	p.attempts++
	p.tries++
	p.running = true
	return p, piece
}

// checkQueue: fewer older messages than the queue has places are not gone.
func (l *ledger) checkQueue(p *parcel) {
	q := l.queues[p.msg.Queue]
	if q == nil {
		return
	}
	if q.paused {
		l.fault("%s begins, but its queue is paused", p.key)
	}
	var before []string
	for _, o := range l.parcels[:p.number] {
		if o.msg.Queue == p.msg.Queue && !o.gone() {
			before = append(before, o.key)
		}
	}
	if len(before) >= q.places {
		l.fault("%s begins, but %d come first: %q", p.key, q.places, before)
	}
}

func (l *ledger) checkFlow(p *parcel) {
	switch p.msg.FlowKey {
	case "f":
		if l.flowPaused {
			l.fault("%s begins, but its flow key is paused", p.key)
		}
		if l.running++; l.running > flowPlaces {
			l.fault("%s is the attempt %d of its flow key at a time", p.key, l.running)
		}
	case "r":
		if now := time.Now(); now.Sub(l.periodBegan) >= flowPeriod {
			l.periodBegan, l.used = now, 0
		}
		if l.used++; l.used > flowRate {
			l.fault("%s is the attempt %d of its flow key in a period", p.key, l.used)
		}
	}
}

// checkPriority: with one slot nobody begins while another that could has a higher
// priority, or the same and an earlier due time.
func (l *ledger) checkPriority(p *parcel) {
	if l.slots > 1 {
		return
	}
	before := time.Now().Add(-time.Millisecond) // what is due just now may not have been seen
	for _, o := range l.parcels {
		if o == p || o.msg.Queue != "" || o.msg.FlowKey != "" || !o.claimable(before) {
			continue
		}
		if o.msg.Priority > p.msg.Priority || o.msg.Priority == p.msg.Priority && o.due.Before(p.due) {
			l.fault("%s (%d) begins before %s (%d)", p.key, p.msg.Priority, o.key, o.msg.Priority)
		}
	}
}

// leave is the end of an attempt, however it ended.
func (l *ledger) leave(p *parcel) {
	p.running = false
	if p.msg.FlowKey == "f" {
		l.running--
	}
}

// attemptIsCut: the broker was closed, the attempt does not count.
func (l *ledger) attemptIsCut(p *parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(p)
	p.attempts--
	if p.msg.FlowKey == "r" {
		l.used--
	}
}

func (l *ledger) attemptEnds(p *parcel, piece string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leave(p)
	p.dead = piece == "p" || piece == "f" && p.attempts > *p.msg.Retries
	p.ended = p.dead || piece == "o"
	p.due = time.Now().Add(modelBackoff(p.attempts - 1))
	l.owe(p)
	switch piece {
	case "o":
		return nil
	case "p":
		return recall.Permanent(errParcel)
	}
	return errParcel
}

// owe enters the callbacks of an attempt.
func (l *ledger) owe(p *parcel) {
	if p.msg.Callback == nil {
		return
	}
	for _, dead := range []bool{false, true} {
		if !dead || p.dead {
			l.notices[notice{p.key, p.attempts - 1, dead}] = nil
			p.owed++
		}
	}
}

// told is the handler of callbacks. It refuses the first attempt at those of
// scripts with an F, so that some have to wait.
func (l *ledger) told(_ context.Context, d *recall.Delivery) error {
	var body struct {
		URL        string `json:"url"`
		Retried    int    `json:"retried"`
		DLQ        string `json:"dlqId"`
		SourceBody []byte `json:"sourceBody"`
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := json.Unmarshal(d.Body, &body); err != nil {
		l.fault("callback %s: %v", d.Body, err)
	}
	n := notice{parcelKey(body.SourceBody, body.URL), body.Retried, body.DLQ != ""}
	seen, known := l.notices[n]
	p := l.byKey[n.key]
	if !known || p == nil || d.Source != p.id {
		l.fault("a callback tells %+v, which did not happen", n)
		return nil
	}
	if seen == nil {
		seen = map[recall.MessageID]bool{}
		l.notices[n] = seen
	}
	if seen[d.ID] = true; len(seen) > 1 {
		l.fault("two callbacks tell %+v", n)
	}
	if d.Attempt == 1 && strings.Contains(string(body.SourceBody), "F") {
		return errParcel
	}
	p.owed--
	return nil
}

func (l *ledger) tick(_ context.Context, d *recall.Delivery) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticks[d.ID] = true
	return nil
}

// stopTicking counts what the schedule has met since it was set or resumed.
func (l *ledger) stopTicking() {
	l.wanted += int(time.Now().UnixMilli()/tickPeriod.Milliseconds() - l.since.UnixMilli()/tickPeriod.Milliseconds())
	l.since = time.Time{}
}

// opened: what waits may be claimed from now on only.
func (l *ledger) opened() {
	l.change(func() {
		for _, p := range l.parcels {
			p.after = time.Now()
		}
	})
}

// waiting returns what a cancellation should take.
func (l *ledger) waiting(f recall.Filter) (list []*parcel) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.parcels {
		if p.live() && !p.running && (slices.Contains(f.Queues, p.msg.Queue) || slices.Contains(f.URLs, p.msg.URL)) {
			list = append(list, p)
		}
	}
	return list
}

// check compares the books with what the broker counts, when nothing moves.
func (l *ledger) check(t *rapid.T, got recall.Count) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var want recall.Count
	for _, p := range l.parcels {
		want.Pending += p.owed
		switch {
		case p.running:
			want.InFlight++
		case p.live():
			want.Pending++
		}
	}
	if got != want {
		l.fault("the broker counts %+v, the books have %+v", got, want)
	}
	if l.slots > 1 {
		l.checkProgress()
	}
	if len(l.faults) > 0 {
		t.Fatalf("%s", strings.Join(l.faults, "\n"))
	}
}

// checkProgress: nobody waits who has nothing to wait for.
func (l *ledger) checkProgress() {
	heads := map[string]bool{}
	for _, p := range l.parcels { // whose place is taken, whatever has come back before them
		if p.msg.Queue != "" && (p.running || !p.live() && p.owed > 0) {
			heads[p.msg.Queue] = true
		}
	}
	for _, p := range l.parcels {
		first := p.msg.Queue == ""
		if q := l.queues[p.msg.Queue]; q != nil && !p.gone() {
			first = !heads[p.msg.Queue] && !q.paused
			heads[p.msg.Queue] = true
		}
		free := p.msg.FlowKey == "" || p.msg.FlowKey == "f" && l.running < flowPlaces && !l.flowPaused
		if first && free && p.claimable(time.Now()) {
			l.fault("%s waits for nothing: %+v", p.key, *p)
		}
	}
}

// checkEnd: all have ended, and there is nothing that the books do not know.
func (l *ledger) checkEnd(t *rapid.T, dead []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var wantDead []string
	for _, p := range l.parcels {
		if p.live() || p.owed != 0 {
			t.Errorf("%s is left: %+v", p.key, *p)
		}
		if p.dead {
			wantDead = append(wantDead, string(p.id))
		}
	}
	slices.Sort(dead)
	slices.Sort(wantDead)
	if !slices.Equal(dead, wantDead) {
		t.Errorf("dead letters %q, want %q", dead, wantDead)
	}
	for n, seen := range l.notices {
		if len(seen) != 1 {
			t.Errorf("%d callbacks tell %+v", len(seen), n)
		}
	}
	if len(l.ticks) != l.wanted {
		t.Errorf("the schedule has published %d times, want %d", len(l.ticks), l.wanted)
	}
}
