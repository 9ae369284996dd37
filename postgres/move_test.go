package postgres_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dump"
	"github.com/recallmq/recall/postgres"
	"github.com/recallmq/recall/postgres/pgtest"
)

// moving is the clock of the tests here. It stands still.
var moving = time.UnixMilli(1_800_000_000_000)

type stillClock struct{ recall.Clock }

func (stillClock) Now() time.Time { return moving }

// movingFile opens the embedded engine.
func movingFile(t *testing.T) recall.Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "q.db")
	e, err := recall.OpenEngine(path, &recall.Options{Durability: recall.SyncNever, Clock: stillClock{}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.Close()
		if report, err := recall.Check(context.Background(), path, nil); err != nil || !report.OK() {
			t.Errorf("check: %v, %v", err, report.Findings)
		}
	})
	return e
}

// movingDatabase opens an engine on PostgreSQL.
func movingDatabase(t *testing.T, shards int) (e recall.Engine) {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	o := &postgres.Options{Schema: schema, Shards: shards, AllowUnsafe: true}
	var err error
	if shards == 1 {
		e, err = postgres.Open(t.Context(), dsn, o)
	} else {
		e, err = postgres.OpenShards(t.Context(), []string{dsn}, o)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// drained is the queue that drainInOrder looks at.
const drained = "q9"

// moved is the i-th message of many, each of another kind than the next.
func moved(i int) recall.Message {
	m := recall.Message{
		URL: fmt.Sprintf("https://host%d.test/p%d", i%7, i%11), Method: "POST", Retries: recall.Retries(i % 5), Timeout: time.Minute,
		CreatedAt: moving, DueAt: moving.Add(time.Duration(i%50-25) * time.Minute), Body: fmt.Append(nil, "body ", i), Priority: i % 3,
	}
	if i%2 == 0 {
		m.Labels = []string{fmt.Sprint("l", i%10), "even", "ü"}
	}
	if i%3 == 0 {
		m.Queue = fmt.Sprint("q", i%300)
	}
	if i%5 == 0 {
		m.FlowKey, m.Flow = fmt.Sprint("k", i%20), &recall.FlowLimit{Rate: 1_000_000, Period: time.Minute} // never used up: that does not move
	}
	if i%7 == 0 {
		m.Header = http.Header{"X-Text": {"ü", "b"}, "X-Bytes": {"\xff\xfe"}}
		m.Callback = &recall.Callback{URL: "https://back.test/"}
		m.CallerIP, m.RetryDelay = "10.0.0.7", "1000 * retried"
	}
	if i%13 == 0 {
		m.Topic, m.ScheduleID = "t", "s"
	}
	if m.Queue == drained {
		m.Priority, m.DueAt = 2, moving.Add(-48*time.Hour) // before all others, however many there are
	}
	return m
}

// fillForMove makes a queue of everything that moves, with messages that have a queue and
// a flow-control key, or without.
func fillForMove(t *testing.T, e recall.Engine, n int, both bool) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	ctx := context.Background()
	for i := 0; i < n; i += 1000 {
		var msgs []recall.Message
		for k := range min(1000, n-i) {
			m := moved(i + k)
			if m.Queue != "" && !both {
				m.FlowKey, m.Flow = "", nil
			}
			msgs = append(msgs, m)
		}
		_, err := e.Insert(ctx, msgs, moving)
		must(err)
	}
	claimed, err := e.Claim(ctx, recall.ClaimRequest{Now: moving, Max: n / 20})
	must(err)
	for i, l := range claimed.Leases {
		f := recall.Finish{Outcome: recall.Retry, Now: moving, Due: moving.Add(time.Hour), Reason: "later"}
		switch i % 4 {
		case 0:
			f.Outcome, f.Response = recall.Dead, &recall.HTTPResponse{Status: 500, Header: http.Header{"X-R": {"\xff"}}, Body: []byte("no")}
		case 1:
			f.Outcome = recall.Delivered
			if q := l.Message.Queue; q != "" {
				call := moved(1)
				call.Blocks, call.Source = q, l.Message.ID
				f.Follow = []recall.Message{call}
			}
		}
		must(e.Finish(ctx, l, f))
	}
	_, err = e.(recall.Changer).Change(ctx, recall.ChangeRequest{
		Kind: recall.OperationHold, CancelMatchingRequest: recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"l4"}}, Now: moving},
	})
	must(err)
	_, err = e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"l6"}}, Now: moving})
	must(err)
	_, err = e.(recall.Stander).CancelFuture(ctx, recall.Filter{Labels: []string{"stop"}}, moving.Add(time.Hour), "because", moving)
	must(err)
	_, err = e.(recall.Keeper).Apply(ctx, recall.Change{Now: moving, Objects: []recall.Object{
		{Kind: recall.ObjectTopic, Name: "t", Value: []byte(`{"endpoints":[]}`)},
		{Kind: recall.ObjectQueue, Name: "q3", Value: []byte(`{"parallelism":4,"createdAt":"2027-01-01T00:00:00Z","updatedAt":"2027-01-01T00:00:00Z"}`)},
	}})
	must(err)
}

// moves takes a queue from one engine to another.
func moves(t *testing.T, from, to recall.Engine) dump.Report {
	t.Helper()
	r, w := io.Pipe()
	go func() {
		_, err := dump.Export(context.Background(), from, w, moving, nil)
		_ = w.CloseWithError(err)
	}()
	report, err := dump.Import(context.Background(), to, r, moving, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// wantSameDump compares all that dumps say of two queues but for their first lines, and
// keeps neither.
func wantSameDump(t *testing.T, name string, got, want recall.Engine) {
	t.Helper()
	a, b := dumped(t, got), dumped(t, want)
	for n := 1; ; n++ {
		more := a.Scan()
		if b.Scan() != more {
			t.Fatalf("%s: one dump is longer, behind line %d", name, n)
		}
		if !more {
			break
		}
		if n > 1 && !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Fatalf("%s: line %d:\ngot  %s\nwant %s", name, n, a.Bytes(), b.Bytes())
		}
	}
	if err := errors.Join(a.Err(), b.Err()); err != nil {
		t.Fatal(err)
	}
}

// dumped are the lines of a dump, as they are made.
func dumped(t *testing.T, e recall.Engine) *bufio.Scanner {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := dump.Export(context.Background(), e, w, moving, nil)
		_ = w.CloseWithError(err)
	}()
	t.Cleanup(func() { // before the engine is closed
		_ = r.Close()
		<-done
	})
	return bufio.NewScanner(r)
}

// TestMove takes a queue from a file to PostgreSQL and on to another file: the same
// messages, by every filter, in the same order, and the same dump of each.
func TestMove(t *testing.T) {
	for name, shards := range map[string]int{"one shard": 1, "several shards": 5} {
		t.Run(name, func(t *testing.T) { moveThrough(t, shards) })
	}
}

func moveThrough(t *testing.T, shards int) {
	n := 10_000
	if os.Getenv("RECALL_SOAK") != "" {
		n = 1_000_000
	}
	from, back, mid := movingFile(t), movingFile(t), movingDatabase(t, shards)
	began := time.Now()
	fillForMove(t, from, n, shards == 1)
	filled := time.Now()
	report := moves(t, from, mid)
	there := time.Now()
	moves(t, mid, back)
	t.Logf("filled in %v, to PostgreSQL in %v, back in %v: %+v", filled.Sub(began), there.Sub(filled), time.Since(there), report)
	if report.Messages < n*8/10 || report.Dead == 0 || report.Objects == 0 || report.Standing == 0 {
		t.Errorf("too little has moved: %+v", report)
	}
	wantSameDump(t, "PostgreSQL", mid, from)
	wantSameDump(t, "the other file", back, from)
	for _, f := range []recall.Filter{
		{Queues: []string{"q3", "q30"}},
		{URLs: []string{moved(5).URL}},
		{Hosts: []string{"host1.test"}},
		{Labels: []string{"l4"}},
		{Topics: []string{"t"}},
		{CallerIPs: []string{"10.0.0.0/8"}},
		{FlowKeys: []string{"k5"}},
		{MinAttempts: 1},
		{Paths: []string{"/p3"}},
		{States: []recall.State{recall.StateHeld}},
		{States: []recall.State{recall.StateRetrying}},
		{States: []recall.State{recall.StateQueueBlocked}},
		{DueAfter: moving},
		{From: moving, To: moving},
		{Schedules: []string{"s"}},
	} {
		want := listed(t, from, f)
		for name, e := range map[string]recall.Engine{"PostgreSQL": mid, "the other file": back} {
			if got := listed(t, e, f); got != want {
				t.Errorf("%s: %s has\n%.300s, want\n%.300s", f, name, got, want)
			}
		}
	}
	for name, e := range map[string]recall.Engine{"PostgreSQL": mid, "the other file": back} {
		got, err := e.Explain(t.Context(), recall.Filter{Labels: []string{"even"}}, moving)
		if err != nil || got.Scan == 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		drainInOrder(t, name, e)
	}
}

// TestMoveUnsupported: what several shards cannot keep is no fault of the dump.
func TestMoveUnsupported(t *testing.T) {
	from := movingFile(t)
	if _, err := from.Insert(t.Context(), []recall.Message{moved(15)}, moving); err != nil {
		t.Fatal(err)
	}
	to := movingDatabase(t, 3)
	var out bytes.Buffer
	if _, err := dump.Export(t.Context(), from, &out, moving, nil); err != nil {
		t.Fatal(err)
	}
	_, err := dump.Import(t.Context(), to, &out, moving, nil)
	if !errors.Is(err, recall.ErrUnsupported) || errors.Is(err, dump.ErrDump) || !strings.Contains(fmt.Sprint(err), "msg_") {
		t.Errorf("got %v", err)
	}
}

// listed is the ids of what a filter finds first.
func listed(t *testing.T, e recall.Engine, f recall.Filter) string {
	t.Helper()
	list, err := e.List(t.Context(), f, "", 1000, moving)
	if err != nil {
		t.Fatal(err)
	}
	var ids strings.Builder
	for i := range list {
		fmt.Fprintln(&ids, list[i].ID, list[i].State, list[i].Attempts)
	}
	return ids.String()
}

// drainInOrder delivers what is in one queue, which has to come in order.
func drainInOrder(t *testing.T, name string, e recall.Engine) {
	t.Helper()
	later := moving.Add(24 * time.Hour)
	list, err := e.List(t.Context(), recall.Filter{Queues: []string{drained}, States: []recall.State{
		recall.StateReady, recall.StateDelayed, recall.StateRetrying, recall.StateQueueBlocked,
	}}, "", 1000, moving)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("%s: the queue is empty", name)
	}
	next := 0
	for range 100 * len(list) {
		res, err := e.Claim(t.Context(), recall.ClaimRequest{Now: later, Max: 20})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Leases) == 0 {
			break
		}
		for _, l := range res.Leases {
			if l.Message.Queue != drained {
				continue
			}
			if want := list[next].ID; l.Message.ID != want {
				t.Fatalf("%s: %s came in the place of %s", name, l.Message.ID, want)
			}
			next++
			if err := e.Finish(t.Context(), l, recall.Finish{Outcome: recall.Delivered, Now: later, Durable: true}); err != nil {
				t.Fatal(err)
			}
		}
		if next == len(list) {
			return
		}
	}
	t.Errorf("%s: %d of %d messages of the queue came", name, next, len(list))
}
