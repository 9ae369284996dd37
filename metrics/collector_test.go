package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/metrics"
)

var update = flag.Bool("update", false, "write the golden files anew")

// open returns a broker on a file of its own, which is closed with the test.
func open(t *testing.T, opts *recall.Options) *recall.Broker {
	t.Helper()
	o := recall.Options{Durability: recall.SyncNever, Logger: slog.New(slog.DiscardHandler)}
	if opts != nil {
		o.Slots, o.NoDispatch, o.NoEvents = opts.Slots, opts.NoDispatch, opts.NoEvents
	}
	b, err := recall.Open(filepath.Join(t.TempDir(), "q.db"), &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

func publish(t *testing.T, b *recall.Broker, msgs ...recall.Message) {
	t.Helper()
	if _, err := b.PublishBatch(t.Context(), msgs); err != nil {
		t.Fatal(err)
	}
}

// lived returns a broker that has seen some of everything.
func lived(t *testing.T) *recall.Broker {
	t.Helper()
	b := open(t, nil)
	for url, h := range map[string]recall.Handler{
		"local:ok":  func(context.Context, *recall.Delivery) error { return nil },
		"local:bad": func(context.Context, *recall.Delivery) error { return errors.New("no") },
		"local:odd": func(context.Context, *recall.Delivery) error { panic("odd") },
	} {
		if err := b.Handle(url, h); err != nil {
			t.Fatal(err)
		}
	}
	publish(t, b, recall.Message{URL: "local:ok"}, recall.Message{URL: "local:bad", Retries: recall.Retries(0)})
	synctest.Wait()
	publish(t, b, recall.Message{URL: "local:odd"})
	synctest.Wait()
	publish(t, b, recall.Message{URL: "local:none"}, recall.Message{URL: "local:later", Delay: time.Hour})
	for _, q := range []string{"orders", "mail", `odd "name"\`} {
		publish(t, b, recall.Message{Queue: q, DeduplicationID: q}, recall.Message{Queue: q, DeduplicationID: q}, recall.Message{Queue: q})
	}
	if _, err := b.Receive(t.Context(), "mail", 1); err != nil {
		t.Fatal(err)
	}
	if err := b.PauseQueue(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	res, err := b.CancelMatching(t.Context(), recall.Filter{URLs: []string{"local:later"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Restore(t.Context(), res.Operation); err != nil {
		t.Fatal(err)
	}
	time.Sleep(7 * time.Second)
	synctest.Wait()
	return b
}

// TestExposition holds what is exported, with its values, against a golden file. What
// depends on the disk or on the order of goroutines is left out of it.
func TestExposition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(metrics.NewCollector(lived(t), &metrics.Options{ConstLabels: prometheus.Labels{"broker": "shop"}}))
		got := changing.ReplaceAllString(exposition(t, r), "$1 *")
		path := filepath.Join("testdata", "exposition.txt")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("go test -update writes %s anew; got\n%s", path, got)
		}
	})
}

// changing are the lines whose values differ from run to run or between machines.
var changing = regexp.MustCompile(
	`(?m)^(recall_(?:file_|segments|commit|upkeep_|changes_|events|undo_)[a-z_]*(?:\{[^}]*\})?) .*$`)

// exposition is what Prometheus would read.
func exposition(t *testing.T, g prometheus.Gatherer) string {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&out, f); err != nil {
			t.Fatal(err)
		}
	}
	return out.String()
}

// TestLint holds the names against the conventions of Prometheus.
func TestLint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		problems, err := testutil.CollectAndLint(metrics.NewCollector(lived(t), nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	})
}

// queuesIn returns the queues that a collector exports.
func queuesIn(t *testing.T, c prometheus.Collector) (names []string) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "recall_queue_messages_waiting" {
			continue
		}
		for _, m := range f.GetMetric() {
			names = append(names, m.GetLabel()[0].GetValue())
		}
	}
	return names
}

// TestQueuesAreBounded: of many queues those with the most messages are exported, and
// those that are named.
func TestQueuesAreBounded(t *testing.T) {
	b := open(t, &recall.Options{NoDispatch: true})
	for i := range 8 {
		for range i + 1 {
			publish(t, b, recall.Message{Queue: fmt.Sprint("q", i)})
		}
	}
	for _, c := range []struct {
		name string
		opts metrics.Options
		want string
	}{
		{"all", metrics.Options{}, "q0 q1 q2 q3 q4 q5 q6 q7"},
		{"top", metrics.Options{TopQueues: 2}, "q6 q7"},
		{"named", metrics.Options{TopQueues: -1, Queues: []string{"q1", "q0", "unheard"}}, "q0 q1"},
		{"both", metrics.Options{TopQueues: 2, Queues: []string{"q0", "q7"}}, "q0 q5 q6 q7"},
		{"none", metrics.Options{TopQueues: -1}, ""},
		{"off", metrics.Options{CountInterval: -1}, ""},
	} {
		if got := strings.Join(queuesIn(t, metrics.NewCollector(b, &c.opts)), " "); got != c.want {
			t.Errorf("%s: got the queues %q, want %q", c.name, got, c.want)
		}
	}
	// However much is asked for, there is a bound.
	for i := range metrics.MaxTopQueues + 10 {
		publish(t, b, recall.Message{Queue: fmt.Sprint("many", i)})
	}
	if got := len(queuesIn(t, metrics.NewCollector(b, &metrics.Options{TopQueues: 1 << 30}))); got != metrics.MaxTopQueues {
		t.Errorf("got %d queues, want %d", got, metrics.MaxTopQueues)
	}
}

// value returns the value of a metric without labels, or of all that are summed up,
// and whether there is one.
func value(t *testing.T, c prometheus.Collector, name string) (sum float64, found bool) {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum, found = sum+m.GetGauge().GetValue()+m.GetCounter().GetValue(), true
			}
		}
	}
	return sum, found
}

// TestCountInterval: counting is left out while the last count is young, and what is
// in Stats is not.
func TestCountInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, &recall.Options{NoDispatch: true})
		c := metrics.NewCollector(b, &metrics.Options{CountInterval: time.Minute})
		check := func(counted, pending float64) {
			t.Helper()
			if got, _ := value(t, c, "recall_messages"); got != counted {
				t.Errorf("got %g messages, want %g", got, counted)
			}
			if got, _ := value(t, c, "recall_messages_pending"); got != pending {
				t.Errorf("got %g pending, want %g", got, pending)
			}
		}
		check(0, 0)
		publish(t, b, recall.Message{URL: "local:h"})
		time.Sleep(time.Minute - time.Millisecond)
		check(0, 1)
		time.Sleep(time.Millisecond)
		check(1, 1)
		if age, _ := value(t, c, "recall_oldest_ready_age_seconds"); age != 60 {
			t.Errorf("the oldest is ready for %g s, want 60", age)
		}
	})
}

// TestHistogram: what is above all bounds is counted in the last bucket.
func TestHistogram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, nil)
		err := b.Handle("local:slow", func(context.Context, *recall.Delivery) error {
			time.Sleep(2 * time.Hour)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, recall.Message{URL: "local:slow", Timeout: 24 * time.Hour})
		time.Sleep(3 * time.Hour)
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(metrics.NewCollector(b, nil))
		got := exposition(t, r)
		for _, want := range []string{`bucket{le="3600"} 0`, `bucket{le="+Inf"} 1`, "sum 7200", "count 1"} {
			if want = "\nrecall_attempt_duration_seconds_" + want + "\n"; !strings.Contains(got, want) {
				t.Errorf("%q is missing in\n%s", want, got)
			}
		}
	})
}

// TestClosed: a collector outlives its broker.
func TestClosed(t *testing.T) {
	b := open(t, nil)
	publish(t, b, recall.Message{URL: "local:h"})
	c := metrics.NewCollector(b, nil)
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n, ok := value(t, c, "recall_messages_published_total"); !ok || n != 1 {
		t.Errorf("got %g published, %v, want 1", n, ok)
	}
	for _, name := range []string{"recall_messages", "recall_queues"} {
		if _, ok := value(t, c, name); ok {
			t.Errorf("%s is there, though nothing can be counted", name)
		}
	}
	if n, ok := value(t, c, "recall_count_failures_total"); !ok || n != 0 {
		t.Errorf("got %g failures, %v, want 0: the broker was closed", n, ok)
	}
}

// TestOtherEngine: one that measures nothing has no empty histograms.
func TestOtherEngine(t *testing.T) {
	b, err := recall.New(enginetest.NewReference(), &recall.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.NewCollector(b, nil))
	got := exposition(t, r)
	for name, want := range map[string]bool{
		"recall_commit_duration_seconds": false, "recall_messages{": false, "recall_queues": true,
		"recall_publish_duration_seconds": true, "recall_messages_pending": true,
	} {
		if strings.Contains(got, name) != want {
			t.Errorf("%s is there: %v, want %v", name, !want, want)
		}
	}
}

// TestScrapesTogether scrapes from several goroutines while messages come and go.
func TestScrapesTogether(t *testing.T) {
	b := open(t, &recall.Options{Slots: 8})
	if err := b.Handle("local:h", func(context.Context, *recall.Delivery) error { return nil }); err != nil {
		t.Fatal(err)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.NewCollector(b, &metrics.Options{CountInterval: time.Nanosecond}))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if _, err := r.Gather(); err != nil {
					t.Error(err)
					return
				}
			}
		})
		all.Go(func() {
			for range 50 {
				if _, err := b.Publish(t.Context(), recall.Message{URL: "local:h", Queue: "q"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestTwoBrokers: labels tell two brokers of one process apart.
func TestTwoBrokers(t *testing.T) {
	a, b := open(t, nil), open(t, nil)
	r := prometheus.NewPedanticRegistry()
	named := func(b *recall.Broker, name string) error {
		return r.Register(metrics.NewCollector(b, &metrics.Options{ConstLabels: prometheus.Labels{"broker": name}}))
	}
	if err := errors.Join(named(a, "a"), named(b, "b")); err != nil {
		t.Fatal(err)
	}
	if err := named(b, "b"); err == nil {
		t.Error("two collectors with the same labels were registered")
	}
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
	if err := r.Register(metrics.NewCollector(b, &metrics.Options{ConstLabels: prometheus.Labels{"": "b"}})); err == nil {
		t.Error("a label without a name was registered")
	}
}
