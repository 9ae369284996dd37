package recall_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

var (
	noon      = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	fullRange = recall.Filter{
		IDs: []recall.MessageID{someID}, Queues: []string{"q"}, URLs: []string{endpoint}, Hosts: []string{"api.test"},
		Paths: []string{"/hook"}, Topics: []string{"t"}, Schedules: []string{"s"}, CallerIPs: []string{"192.0.2.1"},
		Labels: []string{"b", "a"}, FlowKeys: []string{"f"}, From: noon, To: noon.Add(time.Millisecond),
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
		{recall.Filter{From: noon}, "from=2026-01-02T12:00:00Z"},
		{fullRange, "id=msg_01J00000000000000000000000 queue=q url=https://api.test/hook host=api.test path=/hook topic=t schedule=s " +
			"ip=192.0.2.1 label=a|b flow=f from=2026-01-02T12:00:00Z to=2026-01-02T12:00:00.001Z"},
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
			`"from":"2026-01-02T12:00:00Z","to":"2026-01-02T12:00:00.001Z"}`},
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

// TestFilterIsZero sets each field alone, to nothing and to something.
func TestFilterIsZero(t *testing.T) {
	if !(recall.Filter{}).IsZero() {
		t.Error("the zero Filter is not zero")
	}
	full := reflect.ValueOf(fullRange)
	for i := range full.NumField() {
		name := full.Type().Field(i).Name
		var f recall.Filter
		field := reflect.ValueOf(&f).Elem().Field(i)
		field.Set(full.Field(i))
		if f.IsZero() {
			t.Errorf("with %s set it is zero", name)
		}
		if field.Kind() == reflect.Slice {
			field.Set(reflect.MakeSlice(field.Type(), 0, 0))
			if f.IsZero() {
				t.Errorf("with %s an empty list it is zero", name)
			}
		}
	}
}

func TestFilterMatches(t *testing.T) {
	m := recall.Message{
		ID: someID, URL: "https://user@API.test:8080/a%20b?x=/c", Queue: "q", Topic: "t", ScheduleID: "s",
		FlowKey: "f", Labels: []string{"a", "b"}, CallerIP: "192.0.2.1", CreatedAt: noon.Add(500 * time.Microsecond),
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
	same := recall.Filter{From: noon.Add(900 * time.Microsecond), To: noon}
	if err := same.Validate(); err != nil {
		t.Errorf("From and To in the same millisecond: got %v", err)
	}
}
