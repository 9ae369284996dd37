package dump_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dump"
)

var now = time.UnixMilli(1_800_000_000_000)

// clock stands still.
type clock struct{ recall.Clock }

func (clock) Now() time.Time { return now }

func options() *recall.Options {
	return &recall.Options{NoDispatch: true, Durability: recall.SyncNever, Clock: clock{}, Logger: slog.New(slog.DiscardHandler)}
}

func open(t testing.TB, path string) recall.Engine {
	t.Helper()
	e, err := recall.OpenEngine(path, options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.Close() // a second time does no harm
		report, err := recall.Check(context.Background(), path, nil)
		if err != nil || !report.OK() {
			t.Errorf("check: %v, %v", err, report.Findings)
		}
	})
	return e
}

func newFile(t testing.TB) recall.Engine { return open(t, filepath.Join(t.TempDir(), "q.db")) }

func message(i int) recall.Message {
	m := recall.Message{
		URL: fmt.Sprintf("https://host%d.test/p?n=%d", i%7, i), Method: "POST", Retries: recall.Retries(3), Timeout: 30 * time.Second,
		CreatedAt: now, DueAt: now.Add(time.Duration(i%50) * time.Minute), Body: []byte(fmt.Sprint("body ", i)),
	}
	if i%2 == 0 {
		m.Labels = []string{fmt.Sprint("l", i%10), "even"}
	}
	if i%3 == 0 {
		m.Queue = fmt.Sprint("q", i%9)
	}
	if i%5 == 0 {
		m.FlowKey, m.Flow = "k", &recall.FlowLimit{Rate: 10, Period: time.Minute}
	}
	if i%7 == 0 {
		m.Header = http.Header{"X-Text": {"ü", "b"}, "X-Bytes": {"\xff\xfe"}}
		m.Callback = &recall.Callback{URL: "https://back.test/", Header: http.Header{"X-C": {"1"}}}
		m.Redact = &recall.Redaction{Body: true}
		m.CallerIP, m.Priority, m.RetryDelay = "10.0.0.7", 2, "1000 * retried"
	}
	return m
}

// fill makes a queue of everything that is moved.
func fill(t testing.TB, e recall.Engine, n int) {
	t.Helper()
	ctx := context.Background()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	for i := 0; i < n; i += 500 {
		var msgs []recall.Message
		for k := i; k < min(n, i+500); k++ {
			msgs = append(msgs, message(k))
		}
		_, err := e.Insert(ctx, msgs, now)
		must(err)
	}
	claimed, err := e.Claim(ctx, recall.ClaimRequest{Now: now, Max: max(3, n/50)})
	must(err)
	for i, l := range claimed.Leases {
		f := recall.Finish{Outcome: recall.Retry, Now: now, Due: now.Add(time.Hour), Reason: "later", Durable: true}
		if i%3 == 0 {
			f.Outcome = recall.Dead
			f.Response = &recall.HTTPResponse{Status: 500, Header: http.Header{"X-R": {"\xff"}}, Body: []byte("no")}
		}
		must(e.Finish(ctx, l, f))
	}
	_, err = e.(recall.Changer).Change(ctx, recall.ChangeRequest{
		Kind: recall.OperationHold, CancelMatchingRequest: recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"l4"}}, Now: now},
	})
	must(err)
	_, err = e.CancelMatching(ctx, recall.CancelMatchingRequest{Filter: recall.Filter{Labels: []string{"l6"}}, Now: now})
	must(err)
	_, err = e.(recall.Stander).CancelFuture(ctx, recall.Filter{Labels: []string{"stop"}}, now.Add(time.Hour), "because", now)
	must(err)
	_, err = e.(recall.Keeper).Apply(ctx, recall.Change{Now: now, Objects: []recall.Object{
		{Kind: recall.ObjectTopic, Name: "t", Value: []byte(`{"a":"<b>"}`)},
		{Kind: recall.ObjectSchedule, Name: "s", Value: []byte(`{"cron":"* * * * *"}`)},
		{Kind: recall.ObjectScheduleTime, Name: "s", Value: []byte(`{"next":1}`)},
		{Kind: recall.ObjectQueue, Name: "q3", Value: []byte(`{"parallelism":4,"createdAt":"2027-01-01T00:00:00Z","updatedAt":"2027-01-01T00:00:00Z"}`)},
	}})
	must(err)
	must(e.(recall.Transactor).Update(ctx, func(tx recall.EngineTx) error {
		b, err := tx.Bucket("recall/qstash")
		if err != nil {
			return err
		}
		return b.Put([]byte("signing keys"), []byte("secret"))
	}))
}

// contents are all that a dump has but for its first line.
func contents(t testing.TB, e recall.Engine) []byte {
	t.Helper()
	text := exported(t, e)
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return rest
}

func exported(t testing.TB, e recall.Engine) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := dump.Export(context.Background(), e, &out, now, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
