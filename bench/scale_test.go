package main

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// fakeScale has the times of a file that was never written.
func fakeScale(n int) *scaleData {
	d := &scaleData{shape: shape{n: n, dress: spread}}
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for k := range stretches {
		d.created = append(d.created, from.Add(time.Duration(k)*time.Millisecond))
	}
	return d
}

// TestScaleShares: each case means the share that it names, no two of one copy
// meet, and the filter means the messages that the model counts.
func TestScaleShares(t *testing.T) {
	const n = 50_000
	d := fakeScale(n)
	of := map[int]int{}
	for k := range stretches {
		first, end := d.stretch(k, k+1)
		for i := first; i < end; i++ {
			of[i] = k
		}
	}
	for _, shares := range [][]int{{1000, 100, 10}, {largeFactor * 10}, {1}} {
		for _, kind := range []func(int) (one, two scaleCase){d.scattered, d.contiguous} {
			var ones, twos []scaleCase
			for _, share := range shares {
				one, two := kind(share)
				ones, twos = append(ones, one), append(twos, two)
			}
			if shares[0] != 1 {
				ones, twos = append(ones, twos...), nil
			}
			for _, cases := range [][]scaleCase{ones, twos} {
				m := newModel(n)
				for _, c := range cases {
					if err := m.cancel(c.query, n/c.share); err != nil {
						t.Error(err)
					}
					for i := 0; i < n; i += 7 {
						msg := d.shape.message(i)
						msg.CreatedAt = d.created[of[i]]
						if got, want := c.filter.Matches(&msg), c.match(i); got != want {
							t.Fatalf("%s, %s: message %d: the filter says %v, the model %v", c.name, c.filter, i, got, want)
						}
					}
				}
			}
		}
	}
}

// TestSQLiteIndexes: SQLite finds what is cancelled through an index.
func TestSQLiteIndexes(t *testing.T) {
	d := fakeScale(4000)
	path := filepath.Join(t.TempDir(), "q.db")
	if err := d.loadSQLite(path); err != nil {
		t.Fatal(err)
	}
	db, err := openSQLite(path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, share := range []int{1000, 100, 50, 10} {
		for _, kind := range []func(int) (one, two scaleCase){d.scattered, d.contiguous} {
			one, two := kind(share)
			for _, c := range []scaleCase{one, two} {
				where, args := sqliteWhere(c.filter)
				for _, statement := range []string{sqliteDelete, sqliteUpdate} {
					var id, parent, unused int
					var plan string
					if err := db.QueryRow("EXPLAIN QUERY PLAN "+statement+where, args...).Scan(&id, &parent, &unused, &plan); err != nil {
						t.Fatal(err)
					}
					if !strings.HasPrefix(plan, "SEARCH") || strings.Contains(plan, "by_due") {
						t.Errorf("%s%s: %s", statement, where, plan)
					}
				}
			}
		}
	}
}

// TestSQLiteQueue: what is published is claimed, finished and cancelled once.
func TestSQLiteQueue(t *testing.T) {
	d := fakeScale(4000)
	d.shape.due = later(time.Now())
	for _, statement := range []string{sqliteDelete, sqliteUpdate} {
		path := filepath.Join(t.TempDir(), "q.db")
		if err := d.loadSQLite(path); err != nil {
			t.Fatal(err)
		}
		q, err := openSQLiteQueue(path, statement)
		if err != nil {
			t.Fatal(err)
		}
		checkSQLiteQueue(t, d, q)
		if err := q.close(); err != nil {
			t.Error(err)
		}
	}
}

func checkSQLiteQueue(t *testing.T, d *scaleData, q *sqliteQueue) {
	t.Helper()
	for i := range 3 {
		if err := q.publish(dueNow(i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{3, 0} { // claimed, and with the next turn finished
		if err := q.turn(); err != nil || len(q.held) != want {
			t.Fatalf("%d claimed, want %d: %v", len(q.held), want, err)
		}
	}
	if due, err := q.due(); err != nil || due != 0 {
		t.Errorf("%d are due, want none: %v", due, err)
	}
	c, _ := d.scattered(10)
	for _, want := range []int{d.shape.n / 10, 0} {
		if got, err := q.cancel(c.filter); err != nil || got != want {
			t.Errorf("%s%s took %d, want %d: %v", q.statement, c.filter, got, want, err)
		}
	}
	if err := q.prepare([]recall.Message{dueNow(1)}); err != nil {
		t.Error(err)
	}
	if due, err := q.due(); err != nil || due != 1 {
		t.Errorf("%d are due, want 1: %v", due, err)
	}
}

// TestSQLiteRefusesLess: a connection that would not sync is none.
func TestSQLiteRefusesLess(t *testing.T) {
	for _, pragma := range []string{"synchronous(OFF)", "synchronous(NORMAL)", "wal_autocheckpoint(1000)"} {
		db, err := openSQLite(filepath.Join(t.TempDir(), "q.db"), pragma)
		if err == nil {
			db.Close()
			t.Errorf("%s was accepted", pragma)
		}
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "q.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if err := checkSQLite(db); err == nil {
		t.Error("SQLite's defaults were accepted")
	}
}

func TestTraffic(t *testing.T) {
	tr := newTraffic()
	tr.publishes = []span{{0, 5}, {5, 30}, {31, 40}}
	tr.waits = []span{{0, 8}}
	publish, wait := tr.longest(span{9, 32})
	if publish != 25 || wait != 0 {
		t.Errorf("longest waits are %v and %v, want 25 and 0", publish, wait)
	}
	if got := tr.outside([]span{{9, 32}}); len(got) != 1 || got[0] != 5 {
		t.Errorf("outside: got %v", got)
	}
}
