package recall_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// FuzzFilterJSON: what can be read can be written, and reads as the same.
func FuzzFilterJSON(f *testing.F) {
	for _, text := range []string{
		`{}`, `null`, `[]`, `{"ids":[]}`, `{"labels":["a","b"],"queues":null}`, `{"from":"2026-01-02T12:00:00.000000001+01:00"}`,
		`{"callerIPs":["10.1.2.3/8","::ffff:1.2.3.4","2001:db8::/32"]}`, `{"states":["in flight"],"minAttempts":-1}`, `{"labels":["a"],"labels":[]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var filter recall.Filter
		if json.Unmarshal(data, &filter) != nil {
			return
		}
		filter.Matches(&recall.Message{})
		valid, text := filter.Validate() == nil, filter.String()
		back := throughJSON(t, filter)
		if !sameFilter(back, filter) || back.String() != text || (back.Validate() == nil) != valid {
			t.Fatalf("%s became %s", text, back)
		}
		if filter.IsZero() != (text == "everything") {
			t.Fatalf("%q, but IsZero is %v", text, filter.IsZero())
		}
	})
}

// FuzzFilterSource: sources of messages are read alike by Validate and Matches
// whatever they look like, and a valid one that is written anew is valid.
func FuzzFilterSource(f *testing.F) {
	for _, source := range []string{"10.0.0.0/8", "10.1.2.3/8", "::ffff:10.0.0.0/104", "::/0", "::ffff:0:0/95", "1.2.3.4", "fe80::1%eth0", "1.2.3.4/33", "/", ""} {
		f.Add(source, "10.0.0.1")
	}
	f.Fuzz(func(t *testing.T, source, ip string) {
		filter := recall.Filter{CallerIPs: []string{source}}
		m := recall.Message{CallerIP: ip, CreatedAt: time.UnixMilli(0)}
		if filter.Validate() == nil && filter.Matches(&m) && (recall.Filter{CallerIPs: []string{ip}}).Validate() != nil {
			t.Fatalf("%q matches %q, which is no address", source, ip)
		}
		again := recall.Normalised(filter)
		if filter.Validate() == nil && again.Validate() != nil || again.Matches(&m) != filter.Matches(&m) {
			t.Fatalf("%q is not %q", source, again.CallerIPs)
		}
	})
}
