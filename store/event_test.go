package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// logged is an event as it was written or read.
type logged struct {
	s  Subject
	ev Event
}

func (l logged) String() string { return fmt.Sprintf("%x %+v", l.s.ID[:2], l.ev) }

// logEvents writes one event for each time, of one subject each.
func logEvents(tx *Tx, first int, at ...int64) error {
	for i, ms := range at {
		s := Subject{ID: [16]byte{byte((first + i) >> 8), byte(first + i)}, URL: "http://host/path", Labels: []string{"a"}}
		if err := tx.LogEvents(&s, Event{Kind: 1, At: ms}); err != nil {
			return err
		}
	}
	return nil
}

// readEvents reads a range in steps of so many rows.
func readEvents(t *testing.T, s *Store, r EventRange) (list []logged, at []Position) {
	t.Helper()
	for range 100_000 {
		after, done, err := s.Events(r, func(p Position, s *Subject, ev *Event) bool {
			list, at = append(list, logged{*s, *ev}), append(at, p)
			return len(at)%7 != 0
		})
		if err != nil {
			t.Fatal(err)
		}
		if done {
			return list, at
		}
		r.After = after
	}
	t.Fatal("reading does not end")
	return nil, nil
}

func TestEventsComeBack(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	long := strings.Repeat("u", 2048)
	want := []logged{
		{Subject{ID: [16]byte{1}, URL: "http://a/1", Queue: "q", Labels: []string{"x", "y"}}, Event{Kind: 1, At: 1000}},
		{Subject{ID: [16]byte{2}, URL: "http://a/1", Topic: "q", Schedule: "s", CallerIP: "::1", FlowKey: "f"}, Event{Kind: 2, At: 900}},
		{Subject{ID: [16]byte{2}, URL: "http://a/1", Topic: "q", Schedule: "s", CallerIP: "::1", FlowKey: "f"}, Event{
			Kind: 3, At: -5, Attempt: 7, Status: 503, Due: 99, Reason: "why", Operation: [16]byte{9}, Count: 5, Requested: 6,
		}},
		{Subject{}, Event{Kind: 8, At: 1001, Operation: [16]byte{3}, Count: 1 << 40}},
		{Subject{ID: [16]byte{4}, URL: long, Queue: long[:256]}, Event{Kind: 1, At: 1002}},
	}
	mustCommit(t, s, func(tx *Tx) error {
		return errors.Join(
			tx.LogEvents(&want[0].s, want[0].ev), tx.LogEvents(&want[1].s, want[1].ev, want[2].ev), tx.LogEvents(&want[3].s, want[3].ev),
		)
	})
	mustCommit(t, s, func(tx *Tx) error { return tx.LogEvents(&want[4].s, want[4].ev) })
	for _, again := range []bool{false, true} {
		if again {
			s = reopen(t, s, file)
		}
		got, at := readEvents(t, s, EventRange{Oldest: true, Rows: 1 << 20})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		for i, p := range at {
			if p.Number != uint64(i+1) {
				t.Errorf("event %d has number %d", i, p.Number)
			}
		}
	}
}

func reopen(t *testing.T, s *Store, file string) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, file, quick)
	mustLoad(t, s)
	return s
}

// TestEventsBothWays reads the log in small steps, from everywhere, and with
// bounds, while times go up and down.
func TestEventsBothWays(t *testing.T) {
	s := open(t, path(t), quick)
	var times []int64
	for i := range 40 {
		var at []int64
		for j := range 1 + i*i%13*5 {
			at = append(at, int64(1000+i*10-j%3*7-i%5/4*200))
		}
		first := len(times)
		times = append(times, at...)
		mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, first, at...) })
	}
	if n, _ := s.Log(); n != len(times) {
		t.Fatalf("the log has %d events, want %d", n, len(times))
	}
	var all []Position
	for _, rows := range []int{2, 5, 1 << 20} {
		_, up := readEvents(t, s, EventRange{Oldest: true, Rows: rows})
		_, down := readEvents(t, s, EventRange{Rows: rows})
		slices.Reverse(down)
		if len(up) != len(times) || !slices.Equal(up, down) {
			t.Fatalf("%d rows at a time: %d events upwards, %d downwards, want %d", rows, len(up), len(down), len(times))
		}
		all = up
	}
	for i := 0; i < len(all); i += 1 + i/8 {
		p := all[i]
		if _, at := readEvents(t, s, EventRange{Oldest: true, After: p, Rows: 3}); !slices.Equal(at, all[i+1:]) {
			t.Fatalf("behind %v there are %d events, want %d", p, len(at), len(all)-i-1)
		}
		if _, at := readEvents(t, s, EventRange{After: p, Rows: 3}); len(at) != i {
			t.Fatalf("before %v there are %d events, want %d", p, len(at), i)
		}
	}
	for since := int64(900); since < 1500; since += 50 {
		want := 0
		for _, at := range times {
			if at >= since {
				want++
			}
		}
		for _, oldest := range []bool{true, false} {
			list, _ := readEvents(t, s, EventRange{Oldest: oldest, Since: since, Rows: 4})
			list = slices.DeleteFunc(list, func(l logged) bool { return l.ev.At < since })
			if len(list) != want {
				t.Fatalf("since %d, oldest first %v: %d events, want %d", since, oldest, len(list), want)
			}
		}
	}
	for until := int64(900); until < 1500; until += 50 {
		want := 0
		for _, at := range times {
			if at <= until {
				want++
			}
		}
		list, _ := readEvents(t, s, EventRange{Until: until, Rows: 4})
		all := len(list)
		list = slices.DeleteFunc(list, func(l logged) bool { return l.ev.At > until })
		if len(list) != want || until < 1000 && all > len(times)/2 {
			t.Fatalf("until %d: %d events among %d, want %d", until, len(list), all, want)
		}
	}
	id := [16]byte{0, 77}
	list, _ := readEvents(t, s, EventRange{Oldest: true, ID: &id, Rows: 3})
	list = slices.DeleteFunc(list, func(l logged) bool { return l.s.ID != id })
	if len(list) != 1 {
		t.Errorf("message 77 has %d events", len(list))
	}
}

// TestEventRowsFit logs what takes most room.
func TestEventRowsFit(t *testing.T) {
	s := open(t, path(t), quick)
	names := Subject{
		URL: strings.Repeat("u", 2048), Queue: strings.Repeat("q", 256), Topic: strings.Repeat("t", 256),
		Schedule: strings.Repeat("s", 256), FlowKey: strings.Repeat("f", 256), CallerIP: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
	}
	for i := range 16 {
		names.Labels = append(names.Labels, strings.Repeat(string(rune('a'+i)), 32))
	}
	r := Record{
		Wall: math.MaxInt64, Due: math.MaxInt64, Retries: 3, Method: []byte("GET"), URL: []byte(names.URL), Queue: []byte(names.Queue),
		Topic: []byte(names.Topic), Schedule: []byte(names.Schedule), FlowKey: []byte(names.FlowKey), CallerIP: []byte(names.CallerIP),
	}
	for _, l := range names.Labels {
		r.Labels = append(r.Labels, []byte(l))
	}
	for len(AppendRecord(nil, &r)) < MaxRecord { // as large as a message can be
		r.URL, names.URL = append(r.URL, 'u'), names.URL+"u"
	}
	reason := strings.Repeat("r", 256)
	events := []Event{
		{Kind: 2, At: math.MinInt64 / 4, Attempt: 1000},
		{Kind: 4, At: math.MaxInt64 / 4, Attempt: 1000, Status: 599, Reason: reason},
		{Kind: 6, At: math.MaxInt64 / 4, Attempt: 1000, Status: 599, Reason: reason},
	}
	mustCommit(t, s, func(tx *Tx) error { return errors.Join(tx.LogEvents(&names, events...), logEvents(tx, 0, 5, 6)) })
	list, _ := readEvents(t, s, EventRange{Oldest: true, Rows: 10})
	if len(list) != 5 || !reflect.DeepEqual(list[2].s, names) || !strings.HasPrefix(reason, list[1].ev.Reason) {
		t.Fatalf("got %d events, the third %v", len(list), list[2])
	}
	// Small ones fill their pages, and none of them needs two.
	mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, 10, make([]int64, 20_000)...) })
	err := s.View(func(v *View) error {
		st := v.tx.Bucket(bucketEvent).Stats()
		if st.LeafOverflowN > 1 || st.LeafInuse*100 < st.LeafAlloc*85 {
			t.Errorf("pages of the log: %+v", st)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTrimEvents(t *testing.T) {
	file := path(t)
	s := open(t, file, quick)
	mustLoad(t, s)
	if n, _ := s.Log(); n != 0 {
		t.Fatalf("a new log has %d events", n)
	}
	for i := range 50 {
		mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, i*4, int64(i), int64(i), int64(i), int64(i)) })
	}
	trim := func(keep int, before int64, rows int) (more bool) {
		mustCommit(t, s, func(tx *Tx) (err error) { more, err = tx.TrimEvents(keep, before, rows); return err })
		return more
	}
	want := func(n int, oldest int64) {
		t.Helper()
		list, at := readEvents(t, s, EventRange{Oldest: true, Rows: 100})
		if got, since := s.Log(); got != n || len(list) != n || since != oldest {
			t.Fatalf("the log says %d events since %d, and has %d; want %d since %d", got, since, len(list), n, oldest)
		}
		if n > 0 && at[n-1].Number != 200 {
			t.Fatalf("the newest has number %d", at[n-1].Number)
		}
	}
	if trim(1000, 0, 10) {
		t.Error("there is nothing to drop")
	}
	want(200, 0)
	if !trim(1000, 20, 5) {
		t.Error("there is more to drop")
	}
	want(180, 5)
	if trim(1000, 20, 100) {
		t.Error("there is nothing left to drop")
	}
	want(120, 20)
	trim(50, 0, 100) // whole rows: two more than asked for
	want(52, 37)
	s = reopen(t, s, file)
	want(52, 37)
	trim(1000, 1000, 100)
	want(0, 0)
	s = reopen(t, s, file)
	mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, 900, 5) })
	_, at := readEvents(t, s, EventRange{Rows: 5})
	if len(at) != 1 || at[0].Number != 201 {
		t.Errorf("numbers begin again: %v", at)
	}
}

// TestEventsAreOfTheirCommit: what is rolled back has left nothing.
func TestEventsAreOfTheirCommit(t *testing.T) {
	s := open(t, path(t), quick)
	mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, 1, 10) })
	tx, err := s.Begin(Bound{})
	if err != nil {
		t.Fatal(err)
	}
	if err := logEvents(tx, 2, 20); err != nil {
		t.Fatal(err)
	}
	tx.Rollback()
	mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, 3, 30) })
	list, at := readEvents(t, s, EventRange{Oldest: true, Rows: 10})
	if len(list) != 2 || list[1].s.ID != [16]byte{0, 3} || at[1].Number != 2 {
		t.Errorf("got %v at %v", list, at)
	}
}

func TestDamagedEvents(t *testing.T) {
	damage := func(name string, change func(b *bolt.Bucket) error, atOpen bool) {
		t.Run(name, func(t *testing.T) {
			file := path(t)
			s := open(t, file, quick)
			for i := range 3 {
				mustCommit(t, s, func(tx *Tx) error { return logEvents(tx, i, int64(i)) })
			}
			mustCommit(t, s, func(tx *Tx) error { return change(tx.tx.Bucket(bucketEvent)) })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, file, quick)
			_, err := load(s)
			if got := errors.Is(err, ErrCorrupt); got != atOpen {
				t.Fatalf("the open says %v", err)
			}
			if atOpen {
				return
			}
			_, _, err = s.Events(EventRange{Rows: 10}, func(Position, *Subject, *Event) bool { return true })
			var c *CorruptError
			if !errors.As(err, &c) || c.Bucket != "event" || c.Key == "" {
				t.Errorf("reading says %v", err)
			}
		})
	}
	put := func(n uint64, change func(row []byte) []byte) func(b *bolt.Bucket) error {
		return func(b *bolt.Bucket) error {
			key := eventKey(Position{int64(n - 1), n})
			return b.Put(key, change(bytes.Clone(b.Get(key))))
		}
	}
	flip := func(row []byte) []byte { row[20] ^= 1; return row }
	damage("a bit of a row", put(2, flip), false)
	damage("a bit of the newest row", put(3, flip), true)
	damage("a short row", put(1, func([]byte) []byte { return []byte{1} }), false)
	damage("a short key", func(b *bolt.Bucket) error { return b.Put([]byte{0}, []byte{1}) }, true)
	damage("a number", func(b *bolt.Bucket) error { return b.SetSequence(2) }, true)
	damage("a later number", func(b *bolt.Bucket) error { return b.SetSequence(9) }, true)
}

func FuzzDecodeEvents(f *testing.F) {
	w := eventWriter{numbers: map[string]uint64{}, next: 1}
	w.begin([]Event{{At: 5}})
	w.group(&Subject{ID: [16]byte{1}, URL: "u", Queue: "u", Labels: []string{"l"}}, []Event{
		{Kind: 1, At: 5, Attempt: 1, Status: 500, Due: -1, Reason: "r", Operation: [16]byte{2}, Count: 3, Requested: 4}, {Kind: 2},
	}, 9)
	w.row[0] = eventCodec
	binary.BigEndian.PutUint16(w.row[1:], 2)
	f.Add(w.row)
	f.Add(append([]byte{eventCodec}, make([]byte, eventHeader-1)...))
	key := eventKey(Position{1, 1})
	f.Fuzz(func(t *testing.T, row []byte) {
		var r eventReader
		if r.read(key, appendSum(bytes.Clone(row), 0, keySum(key))) != nil {
			return
		}
		// What decodes can be written again, and comes back.
		w := eventWriter{numbers: map[string]uint64{}}
		w.begin([]Event{{At: r.base}})
		at := 0
		for i := range r.subjects {
			n := 0
			for at+n < len(r.events) && r.of[at+n] == i {
				n++
			}
			w.group(&r.subjects[i], r.events[at:at+n], math.MaxInt)
			at += n
		}
		out := w.row
		out[0] = eventCodec
		binary.BigEndian.PutUint16(out[1:], uint16(len(r.events)))
		binary.BigEndian.PutUint64(out[3:], uint64(r.base))
		var again eventReader
		if err := again.read(key, appendSum(out, 0, keySum(key))); err != nil {
			t.Fatalf("what was encoded does not decode: %v", err)
		}
		if !reflect.DeepEqual(r.events, again.events) || !reflect.DeepEqual(r.subjects, again.subjects) {
			t.Fatalf("%+v became %+v", r.events, again.events)
		}
	})
}
