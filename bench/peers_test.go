package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// unable is a peer without batches, without a filter and without counts.
var unable = &peer.Peer{
	Name: "unable",
	Open: func(ctx context.Context, dir string, publishers int) (peer.Queue, error) {
		q, err := peer.SQLiteByHand.Open(ctx, dir, publishers)
		return &unableQueue{q}, err
	},
}

type unableQueue struct{ peer.Queue }

func (*unableQueue) PublishBatch(context.Context, []peer.Message) error {
	return &peer.CannotError{Reason: "no batches"}
}

func (*unableQueue) Cancel(context.Context, string) (int, error) {
	return 0, &peer.CannotError{Reason: "no filter"}
}

func (*unableQueue) Count(context.Context, string) (int, error) {
	return 0, &peer.CannotError{Reason: "no counts"}
}

// TestPeersUnable: what a peer cannot do is shown, with the reason, and is no
// failure; the rest of it is measured.
func TestPeersUnable(t *testing.T) {
	var out bytes.Buffer
	b, err := newBench(t.TempDir(), tiny, &out)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	b.against = []*peer.Peer{peer.Recall, unable}
	if err := b.runAll([]workload{{"peer-waiting", "", benchPeerWaiting}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"unable cannot: no filter", "unable cannot: no counts"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &out)
		}
	}
	reasons := map[string]string{}
	for _, r := range b.report.current().Rows {
		if strings.HasSuffix(r.What, ", unable") {
			reasons[r.What] = r.Cannot
		}
	}
	if reasons["count a label, unable"] != "no counts" || reasons["open, unable"] != "" {
		t.Errorf("got reasons %q", reasons)
	}
}

// lossy counts one less than there are.
type lossy struct{ peer.Queue }

func (q *lossy) Count(ctx context.Context, label string) (int, error) {
	n, err := q.Queue.Count(ctx, label)
	return n - 1, err
}

func (q *lossy) Cancel(ctx context.Context, label string) (int, error) {
	n, err := q.Queue.Cancel(ctx, label)
	return n - 1, err
}

// TestPeersChecked: a wrong answer ends the run.
func TestPeersChecked(t *testing.T) {
	b, err := newBench(t.TempDir(), tiny, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	err = b.withPeer(peer.SQLiteByHand, 1, func(q peer.Queue) error {
		if err := publishFast(q, b.Peers, atOnce); err != nil {
			return err
		}
		b.against = []*peer.Peer{peer.Recall}
		w := b.newPeerWaiting()
		if err := w.count(0, &lossy{q}); err == nil {
			t.Error("a wrong count was taken")
		}
		if err := w.cancel(0, &lossy{q}); err == nil {
			t.Error("a cancellation with a wrong number was taken")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestDrainCut: what takes too long is cut and reckoned.
func TestDrainCut(t *testing.T) {
	sz := tiny
	sz.DrainCap = 0
	b, err := newBench(t.TempDir(), sz, new(bytes.Buffer))
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	c := &clockedHandler{}
	c.handled.Store(10)
	start := time.Now().Add(-time.Second)
	if d := b.waitDrained(&c.handled, 100, start); !d.cut || d.took < 10*time.Second || d.took > time.Minute {
		t.Errorf("a tenth in a second: got %+v, want some 10 seconds, cut", d)
	}
	if d := b.waitDrained(&c.handled, 10, start); d.cut || d.took > time.Minute {
		t.Errorf("all in a second: got %+v", d)
	}
}

// TestPeerMessages: the time comes back out of a body, and labels are scattered
// tenths.
func TestPeerMessages(t *testing.T) {
	due := time.Now().Add(time.Hour)
	if got, err := dueOf(peerMessage(7, due).Body); err != nil || !got.Equal(due) {
		t.Errorf("got %v, want %v: %v", got, due, err)
	}
	if _, err := dueOf([]byte("short")); err == nil {
		t.Error("a body of another length was taken")
	}
	const n = 10_000
	total := 0
	for _, label := range peer.Labels[:labelCount] {
		got := labelled(n, label)
		if got < n/12 || got > n/8 {
			t.Errorf("%s is on %d of %d", label, got, n)
		}
		total += got
	}
	if total != n {
		t.Errorf("%d of %d have a label", total, n)
	}
}

func TestChoosePeers(t *testing.T) {
	chosen, err := choose("calibrate, peers")
	if err != nil || len(chosen) != 5 || chosen[1].name != "peer-publish" {
		t.Errorf("got %v: %v", chosen, err)
	}
	if _, err := choose("peer"); err == nil {
		t.Error("half a name was taken")
	}
}

// TestBest: the best is the most or the least of those that count.
func TestBest(t *testing.T) {
	embedded, service := &peer.Peer{Name: "a"}, &peer.Peer{Name: "b", Program: "b"}
	all := figures{{of: peer.Recall, values: series{9}}, {of: embedded, values: series{4}}, {of: service, values: series{5}}, {of: &peer.Peer{Name: "c"}}}
	if got := all.best(anyPeer, true); got.of != service {
		t.Errorf("the most is %s", got.of.Name)
	}
	if got := all.best(anyPeer, false); got.of != embedded {
		t.Errorf("the least is %s", got.of.Name)
	}
	if got := all.best((*peer.Peer).Embedded, true); got.of != embedded {
		t.Errorf("the most of the embedded is %s", got.of.Name)
	}
	if got := all[0].per(all[1], true); got[0] != 9.0/4 {
		t.Errorf("mine to its is %v", got)
	}
	if errors.As(all[3].unlessCannot(&peer.CannotError{Reason: "x"}), new(*peer.CannotError)) || all[3].cannot == nil {
		t.Error("a reason was not kept")
	}
}

// TestBeside measures beside those that are named, and refuses names that nobody has.
func TestBeside(t *testing.T) {
	f, err := parseFlags([]string{"-beside", peer.NATS.Name, "-beside", peer.Goqite.Name}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{sizes: f.sizes()}
	var names []string
	for _, p := range b.contestants() {
		names = append(names, p.Name)
	}
	if want := []string{peer.RecallName, peer.Goqite.Name, peer.NATS.Name}; !slices.Equal(names, want) {
		t.Errorf("%q, not %q", names, want)
	}
	if _, err := parseFlags([]string{"-beside", "Redis"}, io.Discard); err == nil {
		t.Error("a queue that is not there was taken")
	}
}
