package recall_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestCrash kills a process that publishes, delivers and cancels, again and
// again on one file, and holds what is left against what was acknowledged.
func TestCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	rounds, most := 15, 500
	if os.Getenv("RECALL_SOAK") != "" {
		rounds, most = 200, 1000
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	c := &crashParent{
		file: filepath.Join(t.TempDir(), "q.db"), sets: map[string]*crashSet{},
		gone: map[recall.MessageID]string{}, dead: map[recall.MessageID]bool{}, seen: map[string]int{},
	}
	for round := range rounds {
		c.begin()
		reports := 1 + random.IntN(most)
		c.name = fmt.Sprintf("r%d", round)
		c.run(t, c.name, round%4 == 3, reports)
		c.look(t)
		c.deliver(t)
		if t.Failed() {
			t.Fatalf("round %d, after %d reports, seed %d", round, reports, seed)
		}
	}
	t.Logf("%d rounds; reports: %v", rounds, c.seen)
	for _, kind := range []string{
		"published", "cancelled", "single", "start", "taken", "waited", "unfinished cancel", "unfinished wait",
		"restored", "unfinished restore", "held", "released", "unfinished hold", "future", "lifted", "counted", "took", "unfinished take",
	} {
		if c.seen[kind] == 0 && rounds >= 200 {
			t.Errorf("no round has met a %q", kind)
		}
	}
}

// crashParent is what is known of the file.
type crashParent struct {
	file string
	sets map[string]*crashSet        // batches, and what is left of some, by label
	gone map[recall.MessageID]string // what was found gone for good, and why
	dead map[recall.MessageID]bool   // dead letters that must be there
	seen map[string]int              // reports, by kind

	// Of this round:
	name    string
	counted int               // by transactions, as far as was acknowledged
	holds   map[string]string // what was said last of a batch: holding, held, releasing or released
	futures map[string]bool   // labels of standing cancellations
	ops     map[string]*crashOp
	singles map[recall.MessageID]string // kind
	started map[recall.MessageID]int
	taken   map[recall.MessageID]bool // true: acknowledged
	plain   map[recall.MessageID]bool // not with Sticky
	waits   map[string]*crashSet
	due     map[recall.MessageID]bool // live, and not delayed
}

// crashSet is one batch.
type crashSet struct {
	ids   []recall.MessageID // nil: its publish was not acknowledged
	size  int
	op    *crashOp // that cancels it
	acked bool     // of a batch that is waited for
	whole bool     // it is cancelled in one commit
}

// crashOp is one bulk cancellation.
type crashOp struct {
	labels []string
	acked  bool
	count  int
	undone bool // its undo has begun
}

func (c *crashParent) begin() {
	c.counted, c.holds, c.futures = 0, map[string]string{}, map[string]bool{}
	c.ops, c.waits = map[string]*crashOp{}, map[string]*crashSet{}
	c.singles, c.started = map[recall.MessageID]string{}, map[recall.MessageID]int{}
	c.taken, c.plain, c.due = map[recall.MessageID]bool{}, map[recall.MessageID]bool{}, map[recall.MessageID]bool{}
}

// run starts the child and kills it after a number of reports.
func (c *crashParent) run(t *testing.T, name string, all bool, reports int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestCrashChild$")
	child.Env = append(os.Environ(), crashFile+"="+c.file, crashName+"="+name)
	if all {
		child.Env = append(child.Env, crashAll+"=1")
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for lines := bufio.NewReader(out); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what was cut short was not reported
		}
		c.note(t, strings.Fields(line))
		if seen++; seen == reports {
			_ = child.Process.Kill() // what is in the pipe is still read
		}
	}
	_ = child.Wait() // it was killed
	if seen < reports {
		t.Fatalf("the child ended by itself, after %d reports", seen)
	}
}

func (c *crashParent) note(t *testing.T, f []string) {
	c.seen[f[0]]++
	switch f[0] {
	case "publish":
		c.sets[f[1]] = &crashSet{size: crashBatch}
	case "published":
		c.sets[f[1]].ids = asIDs(f[2:])
	case "cancel":
		c.noteCancel(f[1], f[2:])
	case "cancelled":
		c.ops[f[1]].acked = true
		c.ops[f[1]].count, _ = strconv.Atoi(f[2])
	case "single":
		c.singles[recall.MessageID(f[2])] = f[1]
	case "start":
		c.started[recall.MessageID(f[1])]++
	case "taking", "asking":
		c.taken[recall.MessageID(f[1])] = false
	case "taken", "asked":
		c.taken[recall.MessageID(f[1])] = true
		c.plain[recall.MessageID(f[1])] = f[0] == "taken"
	case "slow":
		c.sets[f[1]] = &crashSet{size: crashBatch - 1}
	case "waiting":
		delete(c.sets, f[1])
		c.waits[f[1]] = &crashSet{ids: asIDs(f[2:])}
	case "holding", "held", "releasing", "released":
		c.holds[f[1]] = f[0]
	case "restoring":
		c.ops[f[1]].undone = true
	case "restored":
		for _, label := range c.ops[f[1]].labels {
			c.sets[label].op = nil
		}
		delete(c.ops, f[1])
	case "future":
		c.futures[f[1]] = true
	case "lifting":
		delete(c.futures, f[1])
	case "lifted":
	case "counted":
		c.counted, _ = strconv.Atoi(f[1])
	case "take":
		delete(c.sets, f[1])
		c.waits[f[1]] = &crashSet{ids: asIDs(f[2:]), whole: true}
	case "took":
		c.waits[f[1]].acked = true
	case "waited":
		c.waits[f[1]].acked = true
	default:
		t.Errorf("the child: %s", strings.Join(f, " "))
	}
}

func (c *crashParent) noteCancel(name string, labels []string) {
	op := &crashOp{labels: labels}
	if labels[0] == "*" {
		op.labels = nil
		for label, set := range c.sets {
			if set.op == nil {
				op.labels = append(op.labels, label)
			}
		}
	}
	c.ops[name] = op
	for _, label := range op.labels {
		c.sets[label].op = op
	}
}

func asIDs(in []string) (out []recall.MessageID) {
	for _, s := range in {
		out = append(out, recall.MessageID(s))
	}
	return out
}

// look opens the file without delivering, and compares.
func (c *crashParent) look(t *testing.T) {
	t.Helper()
	engine, err := recall.OpenEngine(c.file, &recall.Options{Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(engine, &recall.Options{NoDispatch: true, Logger: quietLogger})
	if err != nil {
		t.Fatal(err)
	}
	if err := recall.CheckInvariants(engine, c.file); err != nil {
		t.Error(err)
	}
	live, byLabel := map[recall.MessageID]bool{}, map[string][]recall.MessageID{} // byLabel: the delayed ones
	held := map[string]int{}
	for m, err := range b.List(t.Context(), recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		live[m.ID] = true
		if m.State == recall.StateHeld {
			held[m.Labels[0]]++
		}
		if m.DueAt.Before(m.CreatedAt.Add(time.Minute)) {
			c.due[m.ID] = true
		} else {
			byLabel[m.Labels[0]] = append(byLabel[m.Labels[0]], m.ID)
		}
	}
	dead := map[recall.MessageID]bool{}
	for _, d := range deadLetters(t, b) {
		dead[d.Message.ID] = true
	}
	c.lookAtCount(t, b, byLabel)
	c.lookAtFutures(t, b, byLabel)
	closeNow(t, b, t.Context())

	for id, why := range c.gone {
		if live[id] {
			t.Errorf("%s is back: %s", id, why)
		}
	}
	c.lookAtOps(t, byLabel)
	c.lookAtHolds(t, held)
	c.lookAtSets(t, byLabel)
	c.lookAtSingles(t, live, dead)
	c.lookAtTaken(t, live, dead)
	c.lookAtWaits(t, live, byLabel)
}

// lookAtOps: a cancellation is durable once it is acknowledged, and before
// that all or nothing.
func (c *crashParent) lookAtOps(t *testing.T, live map[string][]recall.MessageID) {
	for name, op := range c.ops {
		left, total := 0, 0
		for _, label := range op.labels {
			left += len(live[label])
			total += c.sets[label].size
		}
		switch {
		case !op.acked || op.undone:
			c.seen[map[bool]string{false: "unfinished cancel", true: "unfinished restore"}[op.undone]]++
			if left != 0 && left != total {
				t.Errorf("cancellation %s took a part: %d of %d are left", name, left, total)
			}
		case left != 0:
			t.Errorf("cancellation %s was acknowledged, and %d of %d are left", name, left, total)
		case op.count != total:
			t.Errorf("cancellation %s: %d were counted, %d are gone", name, op.count, total)
		}
	}
}

// lookAtHolds: a batch is held when that is acknowledged, before that as a whole
// or not at all, and the same is true of its release.
func (c *crashParent) lookAtHolds(t *testing.T, held map[string]int) {
	for label, said := range c.holds {
		have := held[label]
		switch {
		case said == "held" && have != crashBatch, said == "released" && have != 0, have != 0 && have != crashBatch:
			t.Errorf("batch %s is %s: %d are held", label, said, have)
		case said == "holding", said == "releasing":
			c.seen["unfinished hold"]++
		}
	}
}

// lookAtCount: a transaction publishes a message, cancels those before it by
// turns, and keeps count of both in a bucket.
func (c *crashParent) lookAtCount(t *testing.T, b *recall.Broker, live map[string][]recall.MessageID) {
	number := func(kind string) (n int) {
		v, err := b.Lookup(t.Context(), "count", []byte(kind+c.name))
		if err != nil {
			t.Error(err)
		}
		n, _ = strconv.Atoi(string(v))
		return n
	}
	label := "count." + c.name
	published, cancelled, have := number("published"), number("cancelled"), live[label]
	if published < c.counted || published > c.counted+1 || published-cancelled != len(have) {
		t.Errorf("transactions: %d were acknowledged; %d published and %d cancelled by the bucket, %d live", c.counted, published, cancelled, len(have))
	}
	if len(have) > 0 {
		c.sets[label] = &crashSet{ids: have, size: len(have)}
	}
}

// lookAtFutures: a standing cancellation has taken all that came, and still does.
func (c *crashParent) lookAtFutures(t *testing.T, b *recall.Broker, live map[string][]recall.MessageID) {
	for label := range c.futures {
		if n := len(live[label]); n != 0 {
			t.Errorf("%d of %s have passed the standing cancellation", n, label)
		}
		r, err := b.Publish(t.Context(), recall.Message{URL: "local:ok", Labels: []string{label}})
		if err != nil || r.CancelledBy == "" {
			t.Errorf("publish of %s after the open: got %+v, %v, want it cancelled", label, r, err)
		}
	}
}

// lookAtSets: a publish is durable once it is acknowledged, and before that
// all or nothing.
func (c *crashParent) lookAtSets(t *testing.T, live map[string][]recall.MessageID) {
	for label, set := range c.sets {
		have := live[label]
		switch {
		case len(have) != 0 && len(have) != set.size:
			t.Errorf("batch %s: %d of %d are there", label, len(have), set.size)
		case set.ids == nil:
		case len(have) == 0 && set.op == nil:
			t.Errorf("batch %s was acknowledged, and is lost", label)
		case len(have) > 0 && !slices.Equal(have, set.ids):
			t.Errorf("batch %s has other messages than were acknowledged", label)
		}
		if len(have) > 0 {
			c.sets[label] = &crashSet{ids: have, size: len(have)}
			continue
		}
		c.bury("its batch was cancelled", set.ids)
		delete(c.sets, label)
	}
}

func (c *crashParent) bury(why string, ids []recall.MessageID) {
	for _, id := range ids {
		c.gone[id] = why
	}
}

// lookAtSingles: what is not there any more was delivered or is a dead letter.
func (c *crashParent) lookAtSingles(t *testing.T, live, dead map[recall.MessageID]bool) {
	for id, kind := range c.singles {
		switch {
		case kind == "hopeless" && live[id] == dead[id]:
			t.Errorf("%s has failed: live %v, dead letter %v", id, live[id], dead[id])
		case kind != "hopeless" && !live[id] && c.started[id] == 0:
			t.Errorf("%s was acknowledged, never delivered, and is lost", id)
		case kind != "hopeless" && dead[id]:
			t.Errorf("%s is a dead letter; it had attempts left", id)
		}
		if kind == "hopeless" {
			c.dead[id] = true // now or when the rest is delivered
		}
	}
	for id := range c.dead {
		if !live[id] && !dead[id] {
			t.Errorf("%s was a dead letter, and is lost", id)
		}
	}
}

// lookAtTaken: what was acknowledged as cancelled is neither live nor a dead
// letter.
func (c *crashParent) lookAtTaken(t *testing.T, live, dead map[recall.MessageID]bool) {
	for id, acked := range c.taken {
		if acked && c.plain[id] && c.started[id] > 0 {
			t.Errorf("%s was cancelled while pending, at its first attempt, and delivered", id)
		}
		if acked && (live[id] || dead[id]) {
			t.Errorf("%s was cancelled, and is back: live %v, dead letter %v", id, live[id], dead[id])
		}
		if !live[id] {
			c.gone[id] = "it was cancelled or its attempts were over"
		}
	}
}

// lookAtWaits: before it is acknowledged, a cancellation that waits has taken
// nothing, what stands before the message in flight, or everything. That
// message itself was delivered, was cancelled, or was in flight.
func (c *crashParent) lookAtWaits(t *testing.T, live map[recall.MessageID]bool, delayed map[string][]recall.MessageID) {
	for label, set := range c.waits {
		have, all := delayed[label], slices.Delete(slices.Clone(set.ids), crashSlow, crashSlow+1)
		switch {
		case set.acked && (len(have) > 0 || live[set.ids[crashSlow]]):
			t.Errorf("%s: the cancellation was acknowledged, and %d are left", label, len(have))
		case len(have) > 0 && !slices.Equal(have, all) && (set.whole || !slices.Equal(have, all[crashSlow:])):
			t.Errorf("%s: what is gone is no prefix: %d of %d are left", label, len(have), len(all))
		}
		if len(have) > 0 {
			c.seen[map[bool]string{false: "unfinished wait", true: "unfinished take"}[set.whole]]++
			c.sets[label] = &crashSet{ids: have, size: len(have)}
		}
		for _, id := range set.ids {
			if !live[id] {
				c.gone[id] = "its batch was cancelled, or it was delivered"
			}
		}
	}
}

// deliver lets what is due run. Nothing else may.
func (c *crashParent) deliver(t *testing.T) {
	t.Helper()
	b, err := recall.Open(c.file, &recall.Options{Logger: quietLogger, Backoff: atOnce, AuditRetention: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan recall.MessageID, 1)
	for _, url := range []string{"local:ok", "local:flaky", "local:slow", "local:hopeless", "local:stubborn"} {
		handle(t, b, url, func(_ context.Context, d *recall.Delivery) error {
			started <- d.ID
			if url == "local:hopeless" {
				return recall.Permanent(errCrashAttempt)
			}
			return nil
		})
	}
	late := time.After(time.Minute)
	for waiting := len(c.due); waiting > 0; {
		select {
		case id := <-started:
			if !c.due[id] {
				t.Errorf("%s was delivered; it should be gone (%s)", id, c.gone[id])
				continue
			}
			c.gone[id] = "it was delivered"
			delete(c.due, id)
			waiting--
		case <-late:
			t.Fatalf("%d are due, and not delivered", waiting)
		}
	}
	closeNow(t, b, t.Context()) // which lets attempts end
	select {
	case id := <-started:
		t.Errorf("%s was delivered; it should be gone (%s)", id, c.gone[id])
	default:
	}
}

// This is the process that is killed. It reports over its standard
// output, one line each; what was acknowledged only after the call returned:
//
//	publish LABEL           a PublishBatch of crashBatch delayed messages begins
//	published LABEL ID…     it was acknowledged
//	cancel OP LABEL…        a CancelMatching of the labels begins, a CancelAll with *
//	cancelled OP N          it was acknowledged
//	single KIND ID          a Publish of an immediate message was acknowledged
//	start ID                a handler was called
//	taking ID, taken ID     a Cancel of one message begins, was acknowledged;
//	asking ID, asked ID     the same with Sticky
//	slow LABEL              a PublishBatch begins of which one message is due at once
//	waiting LABEL ID…       a CancelMatching of it with Wait begins
//	waited LABEL            it was acknowledged
//	restoring OP, restored OP  a Restore of it begins, was acknowledged
//	holding, held, releasing, released LABEL  the same of Hold and Release
//	future LABEL            a CancelFuture was acknowledged; more of the label comes
//	lifting LABEL, lifted LABEL  it is being lifted, was lifted
//	counted N               a transaction that counts to N was acknowledged
//	take LABEL ID…          a CancelMatching with Sticky of a batch with "slow" begins
//	took LABEL              it was acknowledged
//	failed …                something that must not happen
const (
	crashFile = "RECALL_CRASH_FILE"
	crashName = "RECALL_CRASH_NAME" // starts every label: no two processes share one
	crashAll  = "RECALL_CRASH_ALL"  // publish and CancelAll by turns, and nothing else

	crashBatch = 20
	crashSlow  = 7 // place of the message in flight in a batch that is waited for
)

func TestCrashChild(t *testing.T) {
	file := os.Getenv(crashFile)
	if file == "" {
		t.Skip("a part of TestCrash")
	}
	opts := &recall.Options{Logger: quietLogger, Backoff: atOnce, AuditRetention: time.Second}
	if os.Getenv(crashAll) != "" {
		opts.UndoWindow = -1 // so that what is cancelled is folded and given back
	}
	b, err := recall.Open(file, opts)
	if err != nil {
		t.Fatal(err)
	}
	c := &crashChild{b: b, name: os.Getenv(crashName), stubborn: make(chan struct{})}
	c.handle(t)
	if os.Getenv(crashAll) != "" {
		c.cancelAll()
	}
	for _, work := range []func(){c.batches, c.batches, c.singles, c.takes, c.waits, c.undo, c.holds, c.futures, c.counts} {
		go work()
	}
	select {} // until it is killed
}

func atOnce(int) time.Duration { return time.Millisecond }

type crashChild struct {
	b    *recall.Broker
	name string

	stubborn chan struct{} // an attempt at such a message has begun

	mu     sync.Mutex // keeps lines whole
	labels int
}

func (c *crashChild) report(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, _ = fmt.Fprintf(os.Stdout, format+"\n", args...)
}

func (c *crashChild) must(err error) {
	if err != nil {
		c.report("failed %v", err)
	}
}

// label returns a name that no other batch has.
func (c *crashChild) label() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.labels++
	return fmt.Sprintf("%s.%d", c.name, c.labels)
}

var errCrashAttempt = errors.New("this attempt fails")

// handle registers handlers: one delivers, one fails twice, one always, one
// takes its time, and one takes its time to fail.
func (c *crashChild) handle(t *testing.T) {
	for url, fails := range map[string]func(attempt int) bool{
		"local:ok":       func(int) bool { return false },
		"local:flaky":    func(attempt int) bool { return attempt < 3 },
		"local:hopeless": func(int) bool { return true },
		"local:slow": func(int) bool {
			time.Sleep(rand.N(5 * time.Millisecond)) // real time of a real process
			return false
		},
		"local:stubborn": func(int) bool {
			select {
			case c.stubborn <- struct{}{}:
			default:
			}
			time.Sleep(rand.N(5 * time.Millisecond))
			return true
		},
	} {
		handle(t, c.b, url, func(_ context.Context, d *recall.Delivery) error {
			c.report("start %s", d.ID)
			if fails(d.Attempt) {
				return errCrashAttempt
			}
			return nil
		})
	}
}

// publish stores a batch of delayed messages; if slow is set one of them is
// due at once.
func (c *crashChild) publish(label string, slow bool) []string {
	msgs := make([]recall.Message, crashBatch)
	for i := range msgs {
		msgs[i] = recall.Message{URL: "local:ok", Labels: []string{label}, Delay: time.Hour, Body: make([]byte, 200)}
	}
	if slow {
		msgs[crashSlow].URL, msgs[crashSlow].Delay = "local:slow", 0
	}
	receipts, err := c.b.PublishBatch(context.Background(), msgs)
	c.must(err)
	var ids []string
	for _, r := range receipts {
		ids = append(ids, string(r.ID))
	}
	return ids
}

func (c *crashChild) publishReported() string {
	label := c.label()
	c.report("publish %s", label)
	c.report("published %s %s", label, strings.Join(c.publish(label, false), " "))
	return label
}

// batches publishes batches, leaves every fourth, and cancels the others: one
// by its label, two with one call.
func (c *crashChild) batches() {
	for {
		c.publishReported()
		c.cancel(c.publishReported())
		c.cancel(c.publishReported(), c.publishReported())
	}
}

func (c *crashChild) cancel(labels ...string) {
	op := c.label()
	c.report("cancel %s %s", op, strings.Join(labels, " "))
	res, err := c.b.CancelMatching(context.Background(), recall.Filter{Labels: labels})
	c.must(err)
	c.report("cancelled %s %d", op, res.Cancelled)
}

func (c *crashChild) cancelAll() {
	for {
		for range 3 {
			c.publishReported()
		}
		op := c.label()
		c.report("cancel %s *", op)
		res, err := c.b.CancelAll(context.Background())
		c.must(err)
		c.report("cancelled %s %d", op, res.Cancelled)
	}
}

// singles publishes messages that are delivered, at the first attempt or the
// third, or become dead letters.
func (c *crashChild) singles() {
	for {
		for _, kind := range []string{"ok", "flaky", "hopeless"} {
			r, err := c.b.Publish(context.Background(), recall.Message{
				URL: "local:" + kind, Labels: []string{"single"}, Retries: recall.Retries(3),
			})
			c.must(err)
			c.report("single %s %s", kind, r.ID)
		}
	}
}

// takes cancels single messages in a race with their delivery, by turns with
// Sticky: then the attempt may go on, but no other follows.
func (c *crashChild) takes() {
	for {
		id := c.publishTake(recall.Message{URL: "local:ok", Delay: rand.N(40 * time.Millisecond)})
		c.take("taking", "taken", id)
		id = c.publishTake(recall.Message{URL: "local:stubborn", Retries: recall.Retries(recall.MaxRetries)})
		<-c.stubborn
		c.take("asking", "asked", id, recall.Sticky)
	}
}

func (c *crashChild) publishTake(m recall.Message) recall.MessageID {
	m.Labels = []string{"take"}
	r, err := c.b.Publish(context.Background(), m)
	c.must(err)
	return r.ID
}

func (c *crashChild) take(begin, end string, id recall.MessageID, opts ...recall.CancelOption) {
	c.report("%s %s", begin, id)
	switch err := c.b.Cancel(context.Background(), id, opts...); {
	case err == nil:
		c.report("%s %s", end, id)
	case errors.Is(err, recall.ErrNotCancellable), errors.Is(err, recall.ErrNotFound):
	default:
		c.must(err)
	}
}

// waits cancels batches of which one message is, or was a moment ago, in
// flight.
func (c *crashChild) waits() {
	for {
		label := c.label()
		c.report("slow %s", label)
		ids := c.publish(label, true)
		c.report("waiting %s %s", label, strings.Join(ids, " "))
		_, err := c.b.CancelMatching(context.Background(), recall.Filter{Labels: []string{label}}, recall.Wait(time.Hour))
		c.must(err)
		c.report("waited %s", label)

		label = c.label()
		c.report("slow %s", label)
		ids = c.publish(label, true)
		c.report("take %s %s", label, strings.Join(ids, " "))
		_, err = c.b.CancelMatching(context.Background(), recall.Filter{Labels: []string{label}}, recall.Sticky)
		c.must(err)
		c.report("took %s", label)
	}
}

// undo cancels batches and takes that back, of one batch or of two.
func (c *crashChild) undo() {
	for {
		labels := []string{c.publishReported()}
		for range 2 {
			name := c.label()
			c.report("cancel %s %s", name, strings.Join(labels, " "))
			res, err := c.b.CancelMatching(context.Background(), recall.Filter{Labels: labels}, recall.Skip)
			c.must(err)
			c.report("cancelled %s %d", name, res.Cancelled)
			c.report("restoring %s", name)
			_, err = c.b.Restore(context.Background(), res.Operation)
			c.must(err)
			c.report("restored %s", name)
			labels = append(labels, c.publishReported())
		}
		c.cancel(labels...)
	}
}

// holds holds and releases batches, and leaves some held.
func (c *crashChild) holds() {
	for i := 0; ; i++ {
		label := c.publishReported()
		f := recall.Filter{Labels: []string{label}}
		c.report("holding %s", label)
		_, err := c.b.Hold(context.Background(), f)
		c.must(err)
		c.report("held %s", label)
		if i%2 == 0 {
			continue
		}
		c.report("releasing %s", label)
		_, err = c.b.Release(context.Background(), f)
		c.must(err)
		c.report("released %s", label)
	}
}

// futures cancels what is not there yet, and publishes it.
func (c *crashChild) futures() {
	for {
		label := c.label()
		op, err := c.b.CancelFuture(context.Background(), recall.Filter{Labels: []string{label}}, time.Now().Add(time.Hour))
		c.must(err)
		c.report("future %s", label)
		c.publish(label, false)
		c.publish(label, true)
		c.report("lifting %s", label)
		c.must(c.b.LiftCancellation(context.Background(), op))
		c.report("lifted %s", label)
	}
}

// counts publishes in transactions, each with a number in a bucket, and now and
// then cancels what they have published.
func (c *crashChild) counts() {
	label := "count." + c.name
	cancelled := 0
	for n := 1; ; n++ {
		c.must(c.b.Update(context.Background(), func(tx *recall.Tx) error {
			if n%10 == 0 {
				res, err := tx.CancelMatching(recall.Filter{Labels: []string{label}}, recall.Limit(7))
				if err != nil {
					return err
				}
				cancelled += res.Cancelled
			}
			_, err := tx.Publish(recall.Message{URL: "local:ok", Labels: []string{label}, Delay: time.Hour})
			if err != nil {
				return err
			}
			b, err := tx.Bucket("count")
			if err != nil {
				return err
			}
			return errors.Join(b.Put([]byte("published"+c.name), []byte(strconv.Itoa(n))), b.Put([]byte("cancelled"+c.name), []byte(strconv.Itoa(cancelled))))
		}))
		c.report("counted %d", n)
	}
}
