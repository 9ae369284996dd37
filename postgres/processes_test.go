package postgres_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

const (
	workerDSN    = "RECALL_TEST_WORKER_DSN"
	workerSchema = "RECALL_TEST_WORKER_SCHEMA"
	workerLease  = time.Second
	workerLabels = 4
)

func TestMain(m *testing.M) {
	if dsn := os.Getenv(workerDSN); dsn != "" {
		if err := work(context.Background(), dsn, os.Getenv(workerSchema)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(pgtest.Main(m))
}

// deed is a line in the log of a worker: something that the engine has acknowledged.
type deed struct {
	Verb      string             // published, claimed, delivered, cancelled
	ID        recall.MessageID   `json:",omitzero"`
	Operation recall.OperationID `json:",omitzero"`
	Count     int                `json:",omitzero"`
}

// work publishes, delivers and cancels until it is killed.
func work(ctx context.Context, dsn, schema string) error {
	e, err := postgres.Open(ctx, dsn, &postgres.Options{
		AllowUnsafe: true, Schema: schema, LeaseTime: workerLease, PollInterval: 10 * time.Millisecond, ChunkSize: 7,
	})
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for {
		steps := []func() error{
			func() error { return workPublish(ctx, e, out) },
			func() error { return workPublish(ctx, e, out) },
			func() error { return workDeliver(ctx, e, out) },
			func() error { return workDeliver(ctx, e, out) },
			func() error { return workCancel(ctx, e, out) },
		}
		if err := steps[rand.IntN(len(steps))](); err != nil {
			return err
		}
	}
}

func anyLabel() string { return "l" + strconv.Itoa(rand.IntN(workerLabels)) }

func workPublish(ctx context.Context, e *postgres.Engine, out *json.Encoder) error {
	msgs := make([]recall.Message, 1+rand.IntN(5))
	now := time.Now()
	for i := range msgs {
		msgs[i] = message(anyLabel())
		msgs[i].CreatedAt, msgs[i].DueAt = now, now
		msgs[i].Retries = recall.Retries(recall.MaxRetries)
		if rand.IntN(3) == 0 {
			msgs[i].Queue = "q" + strconv.Itoa(rand.IntN(3))
		}
	}
	receipts, err := e.Insert(ctx, msgs, now)
	for _, r := range receipts {
		err = errors.Join(err, out.Encode(deed{Verb: "published", ID: r.ID}))
	}
	return err
}

func workDeliver(ctx context.Context, e *postgres.Engine, out *json.Encoder) error {
	res, err := e.Claim(ctx, recall.ClaimRequest{Now: time.Now(), Max: 1 + rand.IntN(4)})
	if err != nil {
		return err
	}
	for _, l := range res.Leases {
		if err := out.Encode(deed{Verb: "claimed", ID: l.Message.ID}); err != nil {
			return err
		}
	}
	for _, l := range res.Leases {
		f := recall.Finish{Outcome: recall.Delivered, Now: time.Now(), Due: time.Now()}
		if rand.IntN(4) == 0 {
			f.Outcome = recall.Retry
		}
		switch err := e.Finish(ctx, l, f); {
		case errors.Is(err, recall.ErrLeaseLost):
		case err != nil:
			return err
		case f.Outcome == recall.Delivered:
			if err := out.Encode(deed{Verb: "delivered", ID: l.Message.ID}); err != nil {
				return err
			}
		}
	}
	return nil
}

func workCancel(ctx context.Context, e *postgres.Engine, out *json.Encoder) error {
	res, err := e.CancelMatching(ctx, recall.CancelMatchingRequest{
		Filter: recall.Filter{Labels: []string{anyLabel()}}, Now: time.Now(),
	})
	if err != nil && !errors.Is(err, recall.ErrNotCancellable) {
		return err
	}
	if res.Cancelled == 0 {
		return nil
	}
	return out.Encode(deed{Verb: "cancelled", Operation: res.Operation, Count: res.Cancelled})
}

// worker is a process that works.
type worker struct {
	cmd  *exec.Cmd
	logs chan<- deed
	done chan error
}

func startWorker(t *testing.T, dsn, schema string, logs chan<- deed) *worker {
	t.Helper()
	w := &worker{cmd: exec.Command(os.Args[0]), logs: logs, done: make(chan error, 1)}
	w.cmd.Env = append(os.Environ(), workerDSN+"="+dsn, workerSchema+"="+schema)
	w.cmd.Stderr = os.Stderr
	out, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	pgtest.DieWithParent(w.cmd)
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { w.done <- w.read(out) }()
	return w
}

// read passes on what the worker has done. The last line of one that was killed may be
// cut.
func (w *worker) read(out io.Reader) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var d deed
		if json.Unmarshal(lines.Bytes(), &d) == nil {
			w.logs <- d
		}
	}
	return lines.Err()
}

func (w *worker) kill(t *testing.T) {
	t.Helper()
	if err := w.cmd.Process.Kill(); err != nil {
		t.Errorf("a worker has ended by itself: %v", err)
	}
	if err := <-w.done; err != nil {
		t.Error(err)
	}
	if err := w.cmd.Wait(); err != nil && w.cmd.ProcessState.Exited() {
		t.Errorf("a worker: %v", err)
	}
}

// history is what all workers have said.
type history struct {
	published, claimed, delivered map[recall.MessageID]int
	cancelled                     map[recall.OperationID]int
	deeds                         int
}

func (h *history) note(d deed) {
	h.deeds++
	switch d.Verb {
	case "published":
		h.published[d.ID]++
	case "claimed":
		h.claimed[d.ID]++
	case "delivered":
		h.delivered[d.ID]++
	case "cancelled":
		h.cancelled[d.Operation] += d.Count
	}
}

// TestProcesses has three processes work on one queue, kills one with kill -9 after
// every few hundred deeds and starts another, and then compares what they were told
// with what is there: nothing is lost, nothing is delivered twice or both delivered and
// cancelled, and every cancellation has taken what it said.
func TestProcesses(t *testing.T) {
	dsn, schema := pgtest.Schema(t)
	kills, between := 8, 250
	if testing.Short() {
		kills = 2
	}
	h := &history{
		published: map[recall.MessageID]int{}, claimed: map[recall.MessageID]int{}, delivered: map[recall.MessageID]int{},
		cancelled: map[recall.OperationID]int{},
	}
	logs := make(chan deed, 1<<16) // so that a worker is never kept from being read
	workers := make([]*worker, 3)
	for i := range workers {
		workers[i] = startWorker(t, dsn, schema, logs)
	}
	for range kills {
		for target := h.deeds + between; h.deeds < target; {
			h.note(<-logs)
		}
		i := rand.IntN(len(workers))
		workers[i].kill(t)
		workers[i] = startWorker(t, dsn, schema, logs)
	}
	for _, w := range workers {
		w.kill(t)
	}
	close(logs)
	for d := range logs {
		h.note(d)
	}
	h.audit(t, dsn, schema)
}

func (h *history) audit(t *testing.T, dsn, schema string) {
	t.Helper()
	e, err := postgres.Open(t.Context(), dsn, &postgres.Options{AllowUnsafe: true, Schema: schema, LeaseTime: workerLease})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	msgs, err := e.List(t.Context(), recall.Filter{}, "", 1<<30, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	live := map[recall.MessageID]bool{}
	for _, m := range msgs {
		live[m.ID] = true
	}
	taken := 0
	for id := range h.published {
		_, err := e.WhoCancelled(t.Context(), id)
		gone := err == nil
		if err != nil && !errors.Is(err, recall.ErrNotFound) {
			t.Fatal(err)
		}
		if gone {
			taken++
		}
		switch {
		case !live[id] && !gone && h.claimed[id] == 0:
			t.Errorf("%s is lost", id)
		case gone && (live[id] || h.delivered[id] > 0):
			t.Errorf("%s is cancelled, and live (%v) or delivered (%d)", id, live[id], h.delivered[id])
		case h.delivered[id] > 1 || h.delivered[id] > 0 && live[id]:
			t.Errorf("%s is delivered %d times, live: %v", id, h.delivered[id], live[id])
		}
	}
	ops, err := e.Operations(t.Context(), "", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, o := range ops {
		total += o.Count
		if said, ok := h.cancelled[o.ID]; ok && said != o.Count {
			t.Errorf("%s says it has taken %d, and its record %d", o.ID, said, o.Count)
		}
	}
	// A message may have been published without anybody hearing of it.
	if taken > total {
		t.Errorf("%d messages are cancelled, by records of %d", taken, total)
	}
	t.Logf("%d published, %d claimed, %d delivered, %d cancelled in %d operations, %d live",
		len(h.published), len(h.claimed), len(h.delivered), total, len(ops), len(live))
}
