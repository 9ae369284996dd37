package recall_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
)

var (
	noon      = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	fullRange = recall.Filter{
		IDs: []recall.MessageID{someID}, Queues: []string{"q"}, URLs: []string{endpoint}, Hosts: []string{"api.test"},
		Paths: []string{"/hook"}, Topics: []string{"t"}, Schedules: []string{"s"}, CallerIPs: []string{"192.0.2.1"},
		Labels: []string{"b", "a"}, FlowKeys: []string{"f"}, From: noon, To: noon.Add(time.Millisecond),
		DueAfter: noon.Add(time.Hour), DueBefore: noon.Add(2 * time.Hour), States: []recall.State{recall.StateReady, recall.StateInFlight}, MinAttempts: 2,
	}
)

func TestFilterString(t *testing.T) {
	tests := []struct {
		f    recall.Filter
		want string
	}{
		{recall.Filter{}, "everything"},
		{recall.Filter{Labels: []string{}}, "label="},
		{recall.Filter{Labels: []string{""}}, `label=""`},
		{recall.Filter{Labels: []string{"b", "a"}, Queues: []string{"q"}}, "queue=q label=a|b"},
		{recall.Filter{Labels: []string{"a b", `c"d`, "e|f", "g=h", `i\j`, "k\nl"}}, `label="a b"|"c\"d"|"e|f"|"g=h"|"i\\j"|"k\nl"`},
		{recall.Filter{Labels: []string{"b", "a", "b", "a"}}, "label=a|b"},
		{recall.Filter{IDs: []recall.MessageID{}}, "id="},
		{recall.Filter{CallerIPs: []string{"2001:db8::/32", "10.0.0.0/8"}}, "ip=10.0.0.0/8|2001:db8::/32"},
		{recall.Filter{From: noon}, "from=2026-01-02T12:00:00Z"},
		{fullRange, "id=msg_01J00000000000000000000000 queue=q url=https://api.test/hook host=api.test path=/hook topic=t schedule=s " +
			"ip=192.0.2.1 label=a|b flow=f from=2026-01-02T12:00:00Z to=2026-01-02T12:00:00.001Z " +
			`due-after=2026-01-02T13:00:00Z due-before=2026-01-02T14:00:00Z state="in flight"|ready min-attempts=2`},
	}
	for _, test := range tests {
		if got := test.f.String(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
	if fullRange.Labels[0] != "b" {
		t.Error("String sorted the caller's list")
	}
}

// TestFilterJSON keeps an empty list, which matches nothing, apart from none.
func TestFilterJSON(t *testing.T) {
	tests := []struct {
		f    recall.Filter
		want string
	}{
		{recall.Filter{}, `{}`},
		{recall.Filter{IDs: []recall.MessageID{}, Labels: []string{}}, `{"ids":[],"labels":[]}`},
		{recall.Filter{Queues: []string{"q"}, To: noon}, `{"queues":["q"],"to":"2026-01-02T12:00:00Z"}`},
		{fullRange, `{"ids":["msg_01J00000000000000000000000"],"queues":["q"],"urls":["https://api.test/hook"],"hosts":["api.test"],"paths":["/hook"],` +
			`"topics":["t"],"schedules":["s"],"callerIPs":["192.0.2.1"],"labels":["b","a"],"flowKeys":["f"],` +
			`"from":"2026-01-02T12:00:00Z","to":"2026-01-02T12:00:00.001Z","dueAfter":"2026-01-02T13:00:00Z","dueBefore":"2026-01-02T14:00:00Z",` +
			`"states":["ready","in flight"],"minAttempts":2}`},
	}
	for _, test := range tests {
		text, err := json.Marshal(test.f)
		if err != nil || string(text) != test.want {
			t.Errorf("got  %s, %v\nwant %s", text, err, test.want)
		}
		var back recall.Filter
		if err := json.Unmarshal(text, &back); err != nil || !reflect.DeepEqual(back, test.f) {
			t.Errorf("round trip: got %#v, %v\nwant %#v", back, err, test.f)
		}
	}
}

// TestFilterFields sets each field alone, to something and to an empty list,
// so that none is forgotten where fields are listed one by one.
func TestFilterFields(t *testing.T) {
	if !(recall.Filter{}).IsZero() {
		t.Error("the zero Filter is not zero")
	}
	full := reflect.ValueOf(fullRange)
	for i := range full.NumField() {
		name := full.Type().Field(i).Name
		var f recall.Filter
		field := reflect.ValueOf(&f).Elem().Field(i)
		if full.Field(i).IsZero() {
			t.Errorf("%s is not set in the example", name)
		}
		field.Set(full.Field(i))
		checkCovered(t, name, f)
		if field.Kind() == reflect.Slice {
			field.Set(reflect.MakeSlice(field.Type(), 0, 0))
			checkCovered(t, name+" as an empty list", f)
		}
	}
}

// checkCovered checks that everything takes notice of the only field of f.
func checkCovered(t *testing.T, name string, f recall.Filter) {
	t.Helper()
	if f.IsZero() {
		t.Errorf("%s: it is zero", name)
	}
	if f.String() == "everything" {
		t.Errorf("%s: String leaves it out", name)
	}
	if f.Matches(&recall.Message{CreatedAt: noon.Add(-time.Hour), DueAt: noon}) && f.Matches(&recall.Message{CreatedAt: noon.Add(time.Hour), DueAt: noon.Add(24 * time.Hour)}) {
		t.Errorf("%s: Matches leaves it out", name)
	}
	if back := throughJSON(t, f); !reflect.DeepEqual(back, f) {
		t.Errorf("%s: JSON made %#v of it", name, back)
	}
}

func throughJSON(t rapid.TB, f recall.Filter) (back recall.Filter) {
	t.Helper()
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatalf("Marshal of %s: %v", f, err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatalf("Unmarshal of %s: %v", text, err)
	}
	return back
}

// TestFilterRoundTrip writes and reads random filters, lists that are nil,
// empty or not.
func TestFilterRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var f recall.Filter
		v := reflect.ValueOf(&f).Elem()
		for i := range v.NumField() {
			drawField(t, v.Type().Field(i).Name, v.Field(i))
		}
		if back := throughJSON(t, f); !sameFilter(back, f) {
			t.Fatalf("got %#v\nwant %#v", back, f)
		}
	})
}

func drawField(t *rapid.T, name string, field reflect.Value) {
	switch {
	case field.Kind() == reflect.Int:
		field.SetInt(rapid.Int64Range(0, 5).Draw(t, name))
	case field.Kind() == reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, name); n >= 0 {
			field.Set(reflect.MakeSlice(field.Type(), n, n))
			for i := range n {
				field.Index(i).SetString(rapid.String().Draw(t, name))
			}
		}
	default:
		if rapid.Bool().Draw(t, name) {
			field.Set(reflect.ValueOf(time.UnixMicro(rapid.Int64Range(0, 1<<50).Draw(t, name)).UTC()))
		}
	}
}

// sameFilter tells a nil list from an empty one, and one instant from another.
func sameFilter(a, b recall.Filter) bool {
	av, bv := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range av.NumField() {
		x, y := av.Field(i).Interface(), bv.Field(i).Interface()
		if at, ok := x.(time.Time); ok && at.Equal(y.(time.Time)) {
			continue
		}
		if !reflect.DeepEqual(x, y) {
			return false
		}
	}
	return true
}

func TestFilterFromJSON(t *testing.T) {
	var f recall.Filter
	text := `{"ids":null,"queues":[],"from":null,"minAttempts":null,"states":["held"],"labels":["a"]}`
	want := recall.Filter{Queues: []string{}, States: []recall.State{recall.StateHeld}, Labels: []string{"a"}}
	if err := json.Unmarshal([]byte(text), &f); err != nil || !reflect.DeepEqual(f, want) {
		t.Errorf("got %#v, %v\nwant %#v", f, err, want)
	}
	f = fullRange
	if err := json.Unmarshal([]byte(`{"topics":["t"]}`), &f); err != nil || !reflect.DeepEqual(f, recall.Filter{Topics: []string{"t"}}) {
		t.Errorf("into a filter: got %#v, %v, want it replaced", f, err)
	}
	list := struct{ Filter *recall.Filter }{&f}
	if err := json.Unmarshal([]byte(`{"Filter":null}`), &list); err != nil || list.Filter != nil {
		t.Errorf("null: got %v, %v", list.Filter, err)
	}
	for text, says := range map[string]string{
		`{"label":["a"]}`:                 `"label" is unknown`,
		`{"Labels":["a"]}`:                `"Labels" is unknown`,
		`{"labels":["a"],"labels":["b"]}`: `"labels" is unknown, or given twice`,
		`{"labels":"a"}`:                  "labels: ",
		`{"minAttempts":1.5}`:             "minAttempts: ",
		`{"from":1767355200}`:             "from: ",
		`["labels"]`:                      "not a JSON object",
		`"labels"`:                        "not a JSON object",
		"{\"labels\":[\"\xff\"]}":         "not valid UTF-8",
	} {
		f = recall.Filter{Queues: []string{"q"}}
		err := json.Unmarshal([]byte(text), &f)
		if !errors.Is(err, recall.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want an error that says %q", text, err, says)
		}
		if !reflect.DeepEqual(f, recall.Filter{Queues: []string{"q"}}) {
			t.Errorf("%s: it left %#v", text, f)
		}
	}
	for _, text := range []string{"", "{", `{"labels"`, `{"labels":[}`, `{"labels":[]`, "nil"} {
		if err := new(recall.Filter).UnmarshalJSON([]byte(text)); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%s, straight: got %v, want ErrInvalid", text, err)
		}
	}
}

func TestFilterMatches(t *testing.T) {
	m := recall.Message{
		ID: someID, URL: "https://user@API.test:8080/a%20b?x=/c", Queue: "q", Topic: "t", ScheduleID: "s",
		FlowKey: "f", Labels: []string{"a", "b"}, CallerIP: "192.0.2.1", CreatedAt: noon.Add(500 * time.Microsecond),
		State: recall.StateRetrying, Attempts: 2, DueAt: noon.Add(500 * time.Microsecond),
	}
	bare := recall.Message{ID: someID, URL: "local:h", CreatedAt: noon}
	root := recall.Message{ID: someID, URL: "http://[2001:db8::1]", CreatedAt: noon}
	tests := []struct {
		name string
		m    *recall.Message
		f    recall.Filter
		want bool
	}{
		{"everything", &m, recall.Filter{}, true},
		{"id", &m, recall.Filter{IDs: []recall.MessageID{someID}}, true},
		{"no id", &m, recall.Filter{IDs: []recall.MessageID{}}, false},
		{"queue", &m, recall.Filter{Queues: []string{"p", "q"}}, true},
		{"another queue", &m, recall.Filter{Queues: []string{"Q"}}, false},
		{"URL", &m, recall.Filter{URLs: []string{m.URL}}, true},
		{"URL in part", &m, recall.Filter{URLs: []string{"https://user@API.test:8080/"}}, false},
		{"host", &m, recall.Filter{Hosts: []string{"API.Test"}}, true},
		{"host and port", &m, recall.Filter{Hosts: []string{"api.test:8080"}}, true},
		{"host and another port", &m, recall.Filter{Hosts: []string{"api.test:80"}}, false},
		{"host in part", &m, recall.Filter{Hosts: []string{"test"}}, false},
		{"host IPv6", &root, recall.Filter{Hosts: []string{"[2001:DB8::1]"}}, true},
		{"path", &m, recall.Filter{Paths: []string{"/a%20b"}}, true},
		{"path with query", &m, recall.Filter{Paths: []string{"/a%20b?x=/c"}}, false},
		{"topic", &m, recall.Filter{Topics: []string{"t"}}, true},
		{"schedule", &m, recall.Filter{Schedules: []string{"s"}}, true},
		{"flow key", &m, recall.Filter{FlowKeys: []string{"f"}}, true},
		{"address", &m, recall.Filter{CallerIPs: []string{"::ffff:192.0.2.1"}}, true},
		{"another address", &m, recall.Filter{CallerIPs: []string{"192.0.2.2"}}, false},
		{"range of addresses", &m, recall.Filter{CallerIPs: []string{"192.0.2.0/24"}}, true},
		{"range with host bits", &m, recall.Filter{CallerIPs: []string{"192.0.2.77/24"}}, true},
		{"range of IPv4 in IPv6", &m, recall.Filter{CallerIPs: []string{"::ffff:192.0.2.0/120"}}, true},
		{"another range", &m, recall.Filter{CallerIPs: []string{"192.0.3.0/24", "::/0"}}, false},
		{"address or range", &m, recall.Filter{CallerIPs: []string{"192.0.3.1", "192.0.0.0/16"}}, true},
		{"range, no address", &bare, recall.Filter{CallerIPs: []string{"0.0.0.0/0", "::/0"}}, false},
		{"state", &m, recall.Filter{States: []recall.State{recall.StateReady, recall.StateRetrying}}, true},
		{"another state", &m, recall.Filter{States: []recall.State{recall.StateReady}}, false},
		{"no state", &m, recall.Filter{States: []recall.State{}}, false},
		{"attempts", &m, recall.Filter{MinAttempts: 2}, true},
		{"more attempts", &m, recall.Filter{MinAttempts: 3}, false},
		{"due after, same millisecond", &m, recall.Filter{DueAfter: noon.Add(900 * time.Microsecond)}, true},
		{"due after, next millisecond", &m, recall.Filter{DueAfter: noon.Add(time.Millisecond)}, false},
		{"due before, same millisecond", &m, recall.Filter{DueBefore: noon}, true},
		{"due before, millisecond before", &m, recall.Filter{DueBefore: noon.Add(-time.Millisecond)}, false},
		{"one label", &m, recall.Filter{Labels: []string{"b"}}, true},
		{"either label", &m, recall.Filter{Labels: []string{"c", "a"}}, true},
		{"another label", &m, recall.Filter{Labels: []string{"c"}}, false},
		{"no label", &m, recall.Filter{Labels: []string{}}, false},
		{"both", &m, recall.Filter{Labels: []string{"a"}, Queues: []string{"q"}}, true},
		{"not both", &m, recall.Filter{Labels: []string{"a"}, Queues: []string{"x"}}, false},
		{"from, same millisecond", &m, recall.Filter{From: noon.Add(900 * time.Microsecond)}, true},
		{"from, next millisecond", &m, recall.Filter{From: noon.Add(time.Millisecond)}, false},
		{"to, same millisecond", &m, recall.Filter{To: noon}, true},
		{"to, millisecond before", &m, recall.Filter{To: noon.Add(-time.Millisecond)}, false},
		{"range", &m, recall.Filter{From: noon, To: noon}, true},
		{"empty strings", &bare, recall.Filter{Queues: []string{""}}, false},
		{"empty host", &bare, recall.Filter{Hosts: []string{""}}, false},
		{"empty path", &bare, recall.Filter{Paths: []string{""}}, false},
		{"empty address", &bare, recall.Filter{CallerIPs: []string{""}}, false},
		{"empty topic", &bare, recall.Filter{Topics: []string{""}}, false},
		{"empty label", &bare, recall.Filter{Labels: []string{""}}, false},
		{"local URL", &bare, recall.Filter{URLs: []string{"local:h"}}, true},
	}
	for _, test := range tests {
		if got := test.f.Matches(test.m); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

func TestFilterValidate(t *testing.T) {
	if err := fullRange.Validate(); err != nil {
		t.Errorf("got %v", err)
	}
	late := noon.Add(900 * time.Microsecond)
	for _, f := range []recall.Filter{
		{From: late, To: noon},
		{DueAfter: late, DueBefore: noon},
		{CallerIPs: []string{"10.1.2.3/8", "::ffff:10.0.0.0/104", "::1", "0.0.0.0/0"}},
		{States: []recall.State{recall.StateDelayed, recall.StateReady, recall.StateRetrying, recall.StateHeld, recall.StateInFlight}},
	} {
		if err := f.Validate(); err != nil {
			t.Errorf("%s: got %v", f, err)
		}
	}
}
