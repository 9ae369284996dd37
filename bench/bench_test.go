package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/bench/peer"
	"github.com/recallmq/recall/internal/parttest"
)

// tiny makes every workload do all of its steps in a moment.
var tiny = sizes{
	N: 4000, Reps: 1, Window: 20 * time.Millisecond, Writers: []int{1, 16}, Batches: []int{100},
	Publishers: 16, Drain: 500, HTTP: 200, Gap: 10 * time.Millisecond, Small: 2, Growth: []int{growthLeast, 2 * growthLeast},
	Peers: 400, PeerReps: 1, DrainCap: time.Second, DueFor: 100 * time.Millisecond,
	Foreign: 20 * time.Millisecond,
}

// TestWorkloads runs each workload. They check their own counts: a wrong one
// is an error. What is left is that every figure is one.
func TestWorkloads(t *testing.T) {
	b, err := newBench(t.TempDir(), tiny, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b.against = []*peer.Peer{peer.Recall, peer.SQLiteGrouped, unable} // the others have a test of their own
	for _, w := range workloads {
		if w.name == postgresWord { // see TestPostgres
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			if w.name == "wire" {
				parttest.Need(t, "wrk")
			}
			if err := b.runAll([]workload{w}); err != nil {
				t.Fatal(err)
			}
			rows := b.report.current().Rows
			if len(rows) == 0 {
				t.Fatal("the workload reported nothing")
			}
			for _, r := range rows {
				checkRow(t, r)
			}
			checkGrid(t, b.report.current().Grid)
		})
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(b.dir); !os.IsNotExist(err) {
		t.Errorf("the files are still there: %v", err)
	}
	checkTargets(t, b.report)
	checkLimits(t, b.report)
	if _, err := json.Marshal(b.report); err != nil {
		t.Errorf("the report does not encode: %v", err)
	}
}

func checkRow(t *testing.T, r *row) {
	t.Helper()
	if r.Values == nil && r.Latency == nil && r.Cannot == "" {
		t.Errorf("%q has no figure", r.What)
	}
	for _, v := range append(append(series{}, r.Values...), r.Ratio...) {
		if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 && r.Unit == "msg/s" {
			t.Errorf("%q: %v is no figure", r.What, v)
		}
	}
	if q := r.Latency; q != nil && (q.P50 > q.P99 || q.P99 > q.Max) {
		t.Errorf("%q: quantiles %v out of order", r.What, *q)
	}
}

// checkGrid: a figure that is left out is one that no case of its kind has.
func checkGrid(t *testing.T, g *grid) {
	t.Helper()
	if g == nil {
		return
	}
	for _, l := range g.Lines {
		if len(l.Figures) != len(g.Columns) {
			t.Fatalf("%q has %d figures for %d columns", l.What, len(l.Figures), len(g.Columns))
		}
		for i, f := range l.Figures {
			_, io := writtenBytes()
			switch column := g.Columns[i]; {
			case column == "× "+recallName && l.Of == recallName, column == "alone ms" && l.Of != recallName, column == "written B" && !io:
			case len(f) == 0 || math.IsNaN(f.median()) || math.IsInf(f.median(), 0):
				t.Errorf("%q, %s: %s is %v", l.What, l.Of, column, f)
			}
		}
	}
}

// checkLimits fails when nothing of a workload is given as a share of what the bare
// machine can do.
func checkLimits(t *testing.T, r *report) {
	t.Helper()
	bare := map[string]bool{
		"WAL": true, "bare POST": true, "small commit": true, "fdatasync": true, "timers of the process": true,
		bareLog: true, bareLog + " of the publishes": true, bareOutcomes: true, barePut: true, bareLookup: true, bareHandler: true,
	}
	for _, table := range r.Workloads {
		limited := func(w *row) bool { return bare[w.To] && len(w.Ratio) > 0 }
		if len(table.Rows) > 0 && table.Name != "calibrate" && !slices.ContainsFunc(table.Rows, limited) {
			t.Errorf("%s has no share of a limit", table.Name)
		}
	}
}

// checkTargets fails when a target that is to be shown was not looked at.
func checkTargets(t *testing.T, r *report) {
	t.Helper()
	seen := map[int]bool{}
	for _, table := range r.Workloads {
		for _, w := range table.Rows {
			if w.Target != nil {
				seen[w.Target.ID] = true
			}
		}
	}
	want := []int{1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 16, 18, 19, 20}
	for _, id := range want {
		if _, io := writtenBytes(); !io && (id == 6 || id == 10) {
			continue
		}
		if !seen[id] {
			t.Errorf("target %d is in no table", id)
		}
	}
}

// TestDurable: each acknowledged publish of one goroutine had a commit of its
// own, and it is there when the file is opened again.
func TestDurable(t *testing.T) {
	if got := options(1).Durability; got != recall.SyncAlways {
		t.Fatalf("brokers are opened with durability %d, want SyncAlways", got)
	}
	path := filepath.Join(t.TempDir(), "q.db")
	const n = 20
	err := withBroker(path, 0, func(br *recall.Broker) error {
		before := br.Stats().Commits
		s := shape{n: n, due: later(time.Now())}
		for i := range n {
			if err := publishUnit(br, s, i, 1); err != nil {
				return err
			}
		}
		if got := br.Stats().Commits - before; got < n {
			t.Errorf("%d publishes one after the other took %d commits", n, got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = withBroker(path, 0, func(br *recall.Broker) error { return checkPending(br, n) })
	if err != nil {
		t.Error(err)
	}
}

// TestWAL reads back what the WAL wrote: a limit that skips the writing is none.
func TestWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wal")
	w, err := openWAL(path, lingering)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for i := range 50 {
		if err := w.append(bodyOf(i), bodyOf(i+1)); err != nil {
			t.Fatal(err)
		}
		want += len(bodyOf(i)) + len(bodyOf(i+1)) + 2*(8+len(walRow))
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if int(info.Size()) != want {
		t.Errorf("the WAL has %d bytes, want %d", info.Size(), want)
	}
	if err := w.close(); err != nil {
		t.Error(err)
	}
}

// TestBoltLog reads back what the limit in bbolt wrote.
func TestBoltLog(t *testing.T) {
	p, err := openPuts(filepath.Join(t.TempDir(), "rows.db"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWAL(&boltLog{puts: p}, lingering)
	const messages = segmentRows + 100
	for n := 0; n < messages; n += 2 {
		if err := w.append(bodyOf(n), bodyOf(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	err = p.db.View(func(tx *bolt.Tx) error {
		for n := range uint64(messages) {
			segment := tx.Bucket(binary.BigEndian.AppendUint64(nil, n/segmentRows))
			key := binary.BigEndian.AppendUint64(nil, n)
			if !bytes.Equal(segment.Bucket(recordRows).Get(key), walRow) || !bytes.Equal(segment.Bucket(bodyRows).Get(key), bodyOf(int(n))) {
				return fmt.Errorf("message %d is not as written", n)
			}
		}
		return nil
	})
	if err := errors.Join(err, w.close()); err != nil {
		t.Error(err)
	}
}

// TestShape: the shares that the workloads' names promise.
func TestShape(t *testing.T) {
	const n = 100_000
	s := shape{n: n}
	m := newModel(n)
	for _, c := range []struct {
		query query
		want  int
	}{
		{byLabel(3), n / 10},
		{byMark(9), n / 1000},
		{byQueue(s, 9), n / 10},
		{byLabelAndAddress(0, 49), n / 500},
		{byHost(), n},
	} {
		if got := m.matches(c.query); got != c.want {
			t.Errorf("%s matches %d, want %d", c.query.name, got, c.want)
		}
	}
	size := 0
	for i := range n {
		size += len(bodyOf(i))
	}
	if mean := size / n; mean < bodyMean-5 || mean > bodyMean+5 {
		t.Errorf("the mean body has %d bytes, want about %d", mean, bodyMean)
	}
	for i := range 2000 { // the model and the messages agree
		msg := s.message(i)
		if msg.Labels[0] != labelNames[labelOf(i)] || msg.CallerIP != addresses[addressOf(i)] ||
			msg.Queue != queues[s.queueOf(i)] || (len(msg.Labels) == 2) != (markOf(i) >= 0) {
			t.Fatalf("message %d is %v", i, msg)
		}
	}
}

func TestModelRefusesWrongCount(t *testing.T) {
	m := newModel(100)
	if err := m.cancel(byLabel(1), 10); err != nil {
		t.Error(err)
	}
	if err := m.cancel(byLabel(1), 10); err == nil {
		t.Error("the same messages were cancelled twice without complaint")
	}
}

func TestParallelCounts(t *testing.T) {
	var calls atomic.Int64
	lat := newLatencies()
	var next atomic.Int64
	n, _, err := stretch(8, 5*time.Millisecond, lat, &next, func(int) error { calls.Add(1); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if n != calls.Load() || lat.quantiles().Samples != n {
		t.Errorf("%d counted, %d measured, %d called", n, lat.quantiles().Samples, calls.Load())
	}
	wrong := fmt.Errorf("broken")
	if _, err := parallel(4, time.Millisecond, nil, func(int) error { return wrong }); err == nil {
		t.Error("an error was lost")
	}
}

func TestQuantiles(t *testing.T) {
	var samples []time.Duration
	lat := newLatencies()
	s := &sampler{to: lat}
	for i := 1000; i > 0; i-- {
		d := time.Duration(i) * time.Millisecond
		samples = append(samples, d)
		s.add(d)
	}
	s.flush()
	q := exact(samples)
	want := quantiles{1000, 500 * time.Millisecond, 990 * time.Millisecond, time.Second}
	if q != want {
		t.Errorf("exact: got %v, want %v", q, want)
	}
	if h := lat.quantiles(); h.Samples != 1000 || math.Abs(float64(h.P99-want.P99)) > float64(2*time.Millisecond) {
		t.Errorf("histogram: got %v, want about %v", h, want)
	}
	if m := (series{3, 1, 2, 10}).median(); m != 2.5 {
		t.Errorf("median is %v, want 2.5", m)
	}
}

func TestTargets(t *testing.T) {
	r := newReport(machine{}, tiny)
	r.begin("x", "y")
	miss := r.rates("slow", "ms", series{30}).atMost(1, 25)
	held := r.rates("share", "", series{1}).ratio("WAL", 0.4, 0.5, 0.6).atLeast(7, 0.45)
	if miss.Target.OK || !held.Target.OK {
		t.Errorf("got %v and %v", miss.Target, held.Target)
	}
	var out strings.Builder
	r.end(&out, time.Second)
	r.printSummary(&out)
	for _, want := range []string{"MISS", "7: ≥ 0.45 OK", "0.5 [0.4–0.6]× WAL", "1 targets held, 1 missed"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-only", "nothing"}, {"-n", "5"}, {"-profiles", "x", "-cpuprofile", "y"}, {"-growth", "10"}, {"-growth", "9000,x"}, {"-growth", "9000,3000"}, {"stray"}, {"-bogus"}} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%v was accepted", args)
		}
	}
	chosen, err := choose("open, count")
	if err != nil || len(chosen) != 2 {
		t.Errorf("got %v, %v", chosen, err)
	}
}

func TestMachine(t *testing.T) {
	m := describeMachine(t.TempDir())
	if m.GoVersion == "" || m.Cores == 0 {
		t.Errorf("got %+v", m)
	}
	if runtime.GOOS == "linux" && (m.Kernel == "" || m.FileSystem == "") {
		t.Errorf("linux tells its kernel and file systems, got %+v", m)
	}
}
