package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/recallmq/recall/bench/peer"
)

// peersWord stands for all workloads with peers in the list of those to run.
const peersWord = "peers"

// peerWorkloads are those with peers.
func peerWorkloads() (some []workload) {
	for _, w := range workloads {
		if strings.HasPrefix(w.name, "peer-") {
			some = append(some, w)
		}
	}
	return some
}

// contestants are Recall and then its peers: those that need nothing, and the
// services if they were asked for and are there.
func (b *bench) contestants() []*peer.Peer {
	if b.against != nil {
		return b.against
	}
	b.against = append([]*peer.Peer{peer.Recall}, b.beside(peer.Embedded)...)
	if !b.Services {
		return b.against
	}
	for _, p := range b.beside(peer.Services) {
		if err := peer.Available(p); err != nil {
			b.skipped = append(b.skipped, fmt.Sprintf("%s is skipped: %v", p.Name, err))
			continue
		}
		b.against = append(b.against, p)
	}
	return b.against
}

// beside returns those that are asked for.
func (b *bench) beside(all []*peer.Peer) (some []*peer.Peer) {
	if b.Beside == nil {
		return all
	}
	for _, p := range all {
		if slices.Contains(b.Beside, p.Name) {
			some = append(some, p)
		}
	}
	return some
}

// checkBeside refuses names that nobody has.
func checkBeside(names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(slices.Concat(peer.Embedded, peer.Services), func(p *peer.Peer) bool { return p.Name == name }) {
			return fmt.Errorf("-beside: there is no queue called %q", name)
		}
	}
	return nil
}

// withPeer runs fn on a peer in a new folder, which is removed afterwards.
func (b *bench) withPeer(p *peer.Peer, publishers int, fn func(q peer.Queue) error) error {
	return b.withPeerDir(func(dir string) error { return b.onPeer(p, dir, publishers, fn) })
}

func (b *bench) withPeerDir(fn func(dir string) error) error {
	dir := b.path("peer")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(fn(dir), os.RemoveAll(dir))
}

func (b *bench) onPeer(p *peer.Peer, dir string, publishers int, fn func(q peer.Queue) error) error {
	q, err := p.Open(bg, dir, publishers)
	if err != nil {
		return fmt.Errorf("opening %s: %w", p.Name, err)
	}
	return errors.Join(fn(q), q.Close())
}

// figure is what one of them reached.
type figure struct {
	of     *peer.Peer
	values series
	lat    *latencies
	cut    bool // a value was reckoned from a part
	cannot *peer.CannotError
}

func (f *figure) add(v float64) { f.values = append(f.values, v) }

// figures begin with that of Recall.
type figures []*figure

func (b *bench) newFigures() (all figures) {
	for _, p := range b.contestants() {
		all = append(all, &figure{of: p, lat: newLatencies()})
	}
	return all
}

// inTurn measures everybody, and everybody again, so that a slow minute of the
// disk falls on all. A peer that cannot is not asked twice.
func (b *bench) inTurn(reps int, what string, measure func(i int, p *peer.Peer) error) error {
	unable := map[int]bool{}
	for range reps {
		for i, p := range b.contestants() {
			if unable[i] {
				continue
			}
			b.progress("%s, %s", what, p.Name)
			b.settle()
			err := measure(i, p)
			var cannot *peer.CannotError
			if errors.As(err, &cannot) {
				unable[i] = true
				continue
			}
			if err != nil {
				return fmt.Errorf("%s: %w", p.Name, err)
			}
		}
	}
	return nil
}

// noteCannot remembers why there is no figure.
func (f *figure) noteCannot(err error) error {
	errors.As(err, &f.cannot)
	return err
}

// print adds a line for each of them, with what it is to Recall's.
func (all figures) print(r *report, what, unit string) {
	for _, f := range all {
		f.print(r, what, unit, all[0])
	}
}

func (f *figure) print(r *report, what, unit string, reference *figure) {
	line := r.add(&row{What: what + ", " + f.of.Name, Unit: unit, Values: f.values, Cut: f.cut})
	if len(f.values) == 0 {
		line.Cannot = "not measured"
		if f.cannot != nil {
			line.Cannot = f.cannot.Reason
		}
		return
	}
	if f.lat.h.TotalCount() > 0 {
		line.latency(f.lat.quantiles())
	}
	if f != reference && f.positive() && reference.positive() {
		line.ratio(peer.RecallName, reference.per(f, false)...)
	}
}

// positive tells whether ratios to the figure mean something.
func (f *figure) positive() bool {
	return len(f.values) > 0 && !slices.ContainsFunc(f.values, func(v float64) bool { return v <= 0 })
}

// per relates two of them, pair by pair if there are as many of each: mine to
// yours, or the other way round.
func (f *figure) per(other *figure, mine bool) series {
	over, under := other.values, f.values
	if mine {
		over, under = under, over
	}
	if len(over) == len(under) {
		return over.per(under)
	}
	return series{over.median() / under.median()}
}

// best returns the best of the peers that who takes, nil if none has a figure.
func (all figures) best(who func(*peer.Peer) bool, most bool) (best *figure) {
	for _, f := range all[1:] {
		if len(f.values) == 0 || !who(f.of) {
			continue
		}
		if best == nil || (f.values.median() > best.values.median()) == most {
			best = f
		}
	}
	return best
}

func anyPeer(*peer.Peer) bool { return true }

func (all figures) named(name string) *figure {
	i := slices.IndexFunc(all, func(f *figure) bool { return f.of.Name == name })
	if i < 0 || len(all[i].values) == 0 {
		return nil
	}
	return all[i]
}

// holdRate holds Recall's rate to a multiple of another's.
func (all figures) holdRate(r *report, id int, bound float64, what, unit string, other *figure) {
	if other != nil {
		r.rates(what, unit, all[0].values).ratio(other.of.Name, all[0].per(other, true)...).atLeast(id, bound)
	}
}

// holdTime holds another's time to a multiple of Recall's.
func (all figures) holdTime(r *report, id int, bound float64, what, unit string, other *figure) {
	if other != nil {
		r.rates(what, unit, other.values).ratio(peer.RecallName, all[0].per(other, false)...).atLeast(id, bound)
	}
}

// notePeers ends a table: what was left out and why, and what the peers ran
// with.
func (b *bench) notePeers(all figures) {
	for _, why := range b.skipped {
		b.report.note("%s", why)
	}
	for _, f := range all {
		b.report.note("%s: %s", f.of.Name, f.of.Settings)
	}
	b.noteCut(all)
}

func (b *bench) noteCut(all figures) {
	if slices.ContainsFunc(all, func(f *figure) bool { return f.cut }) {
		b.report.note("(cut): ended after %v, and reckoned from the part that was done", b.DrainCap)
	}
}
