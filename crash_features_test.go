package recall_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestCrashFeatures kills a process in which everything runs that there is –
// queues, a topic, schedules, limits, deduplication, callbacks, consumers,
// cancellations of all kinds – again and again on one file, and holds what is
// left, and in which order things happened, against what was promised. At the end
// a process delivers all that is left, and everything is checked once more.
func TestCrashFeatures(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	files, most := 1, 600
	if os.Getenv("RECALL_SOAK") != "" {
		files, most = 25, 2000
	}
	for n := range files {
		dir := t.TempDir()
		p := &featureParent{file: filepath.Join(dir, "q.db"), journal: filepath.Join(dir, "journal"), began: time.Now()}
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		const rounds = 8
		for p.round = range rounds {
			p.run(t, 1+random.IntN(most))
			p.look(t).check(t)
			if t.Failed() {
				t.Fatalf("file %d, round %d, seed %d", n, p.round, seed)
			}
		}
		p.drain(t)
		seen := p.look(t)
		seen.check(t)
		seen.checkDrained(t)
		if t.Failed() {
			t.Fatalf("file %d, at the end, seed %d", n, seed)
		}
		t.Logf("%d rounds: %s", rounds, seen.summary())
	}
}

type featureParent struct {
	file, journal string
	began         time.Time
	round         int
}

// child is the process, which gives up after a while.
func (p *featureParent) child(ctx context.Context, env ...string) *exec.Cmd {
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestCrashFeaturesChild$")
	child.Env = append(os.Environ(), featureFile+"="+p.file, featureJournal+"="+p.journal,
		fmt.Sprintf("%s=%d", featureBegan, p.began.UnixNano()), fmt.Sprintf("%s=%d", featureRound, p.round))
	child.Env = append(child.Env, env...)
	return child
}

// run starts the child and kills it when it has written a number of lines.
func (p *featureParent) run(t *testing.T, lines int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	child := p.child(ctx)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	seen, _ := io.CopyN(io.Discard, out, int64(lines))
	_ = child.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = child.Wait() // it was killed
	if seen < int64(lines) {
		t.Fatalf("the child ended by itself, after %d lines", seen)
	}
}

// drain runs a child that delivers all that is left.
func (p *featureParent) drain(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	p.round++
	if out, err := p.child(ctx, featureDrain+"=1").CombinedOutput(); err != nil {
		t.Errorf("what is left is not delivered: %v: %s", err, strings.Trim(string(out), "."))
	}
}

// look opens the file without delivering, and reads all of it.
func (p *featureParent) look(t *testing.T) *featureSight {
	t.Helper()
	s := &featureSight{live: map[recall.MessageID]recall.Message{}, dead: map[recall.MessageID]recall.DeadLetter{}}
	s.read(t, p.journal)
	opts := featureOptions(p.began)
	opts.NoDispatch = true
	engine, err := recall.OpenEngine(p.file, opts)
	if err != nil {
		t.Fatal(err)
	}
	b, err := recall.New(engine, opts)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, b, context.Background())
	if err := recall.CheckInvariants(engine, p.file); err != nil {
		t.Error(err)
	}
	for m, err := range b.List(t.Context(), recall.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		s.live[m.ID] = m
	}
	for _, d := range deadLetters(t, b) {
		s.dead[d.Message.ID] = d
	}
	for ev, err := range b.Events(t.Context(), recall.EventFilter{OldestFirst: true}) {
		if err != nil {
			t.Fatal(err)
		}
		s.events = append(s.events, ev)
	}
	if s.schedules, err = b.Schedules(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// featureStart is an attempt of which the journal tells.
type featureStart struct {
	id                                  recall.MessageID
	url, queue, key, schedule, endpoint string
	due                                 time.Time
	source                              recall.MessageID // what a callback is about
	line                                int
}

// featureSight is all that is known at one moment.
type featureSight struct {
	live      map[recall.MessageID]recall.Message
	dead      map[recall.MessageID]recall.DeadLetter
	events    []recall.Event
	schedules []recall.Schedule

	// Of the journal, with the number of the line:
	starts  []featureStart
	words   map[string]map[recall.MessageID]int // pub, acking, acked, taking, taken, swallowed; ended: successfully
	kinds   map[recall.MessageID]string         // of what was published
	batches map[string]string                   // what was said last
	dedups  map[string]recall.MessageID
	boots   int
}

func (s *featureSight) read(t *testing.T, journal string) {
	t.Helper()
	data, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	s.words, s.kinds = map[string]map[recall.MessageID]int{}, map[recall.MessageID]string{}
	s.batches, s.dedups = map[string]string{}, map[string]recall.MessageID{}
	for n, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		s.note(t, n, strings.Fields(line), line)
	}
}

func (s *featureSight) note(t *testing.T, n int, f []string, line string) {
	t.Helper()
	switch f[0] {
	case "boot":
		s.boots++
	case "start":
		s.starts = append(s.starts, asStart(n, f[1:]))
	case "end":
		if f[2] == "ok" {
			s.word("ended", f[1], n)
		}
	case "pub":
		s.word("pub", f[1], n)
		s.kinds[recall.MessageID(f[1])] = f[2]
	case "dedup":
		id := recall.MessageID(f[1])
		if first, known := s.dedups[f[2]]; known && first != id {
			t.Errorf("deduplication id %s: %s and %s were published", f[2], first, id)
		}
		s.dedups[f[2]] = id
		s.word("pub", f[1], n)
		s.kinds[id] = "dedup"
	case "batch", "cancelling", "cancelled", "restoring", "restored":
		s.batches[f[1]] = f[0]
	case "acking", "acked", "taking", "taken", "swallowed":
		s.word(f[0], f[1], n)
	default:
		t.Errorf("the child: %s", line)
	}
}

func (s *featureSight) word(word, id string, n int) {
	if s.words[word] == nil {
		s.words[word] = map[recall.MessageID]int{}
	}
	s.words[word][recall.MessageID(id)] = n
}

func (s *featureSight) has(word string, id recall.MessageID) bool {
	_, has := s.words[word][id]
	return has
}

func asStart(n int, f []string) featureStart {
	text := func(i int) string { return strings.Trim(f[i], `"`) }
	due, _ := strconv.ParseInt(f[7], 10, 64)
	return featureStart{
		id: recall.MessageID(f[0]), url: f[2], queue: text(3), key: text(4), schedule: text(5), endpoint: text(6),
		due: time.UnixMilli(due), source: recall.MessageID(text(8)), line: n,
	}
}

func (s *featureSight) summary() string {
	kinds := map[string]int{}
	for _, k := range s.kinds {
		kinds[k]++
	}
	return fmt.Sprintf(
		"%d boots, %d starts, %d events, %d batches, %d swallowed, %d taken, %d dead, %d live, published %v",
		s.boots, len(s.starts), len(s.events), len(s.batches), len(s.words["swallowed"]), len(s.words["taken"]),
		len(s.dead), len(s.live), kinds)
}
