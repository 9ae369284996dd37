package dump

import (
	"bytes"
	"testing"
)

// FuzzLine: what is read is written as it was, and read again; nothing panics.
func FuzzLine(f *testing.F) {
	for _, text := range []string{
		`{"dump":{"version":1,"id":"x","at":"2027-01-01T00:00:00Z"}}`,
		`{"object":{"kind":"queue","name":"q","value":{"parallelism":1}}}`,
		`{"standing":{"filter":{"labels":["a"]},"until":"2027-01-01T00:00:00Z"}}`,
		`{"row":{"bucket":"recall/qstash","key":"a2V5","value":"dg=="}}`,
		`{"message":{"id":"msg_01ARZ3NDEKTSV4RRFFQ69G5FAV","url":"https://a.test/","method":"POST","header":{"A":["b"]},"headerBytes":{"B":["/w=="]},` +
			`"createdAt":"2027-01-01T00:00:00Z","dueAt":"2027-01-01T00:00:00Z","retries":3,"held":true}}`,
		`{"dead":{"message":{"id":"x","url":"","method":"","createdAt":"2027-01-01T00:00:00Z","dueAt":"2027-01-01T00:00:00Z","retries":null},` +
			`"diedAt":"2027-01-01T00:00:00Z","attempts":1,"response":{"status":500,"body":"AA=="}}}`,
		`{"end":{"objects":1,"standing":0,"rows":0,"messages":2,"dead":0}}`,
		`{}`, `[]`, `{"end":{}}{}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parse(text)
		if err != nil {
			return
		}
		first, err := l.text()
		if err != nil {
			t.Fatalf("%q is read and not written: %v", text, err)
		}
		again, err := parse(first)
		if err != nil {
			t.Fatalf("%q is written and not read: %v", first, err)
		}
		second, err := again.text()
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%q became %q, %v", first, second, err)
		}
		roundTrip(t, l)
	})
}

// roundTrip takes a line through the types of the root.
func roundTrip(t *testing.T, l *line) {
	switch {
	case l.Message != nil:
		m, err := l.Message.message()
		if err != nil {
			return
		}
		checkMessage(t, l, &line{Message: messageOf(&m)})
	case l.Dead != nil:
		d, err := l.Dead.dead()
		if err != nil {
			return
		}
		again, err := deadOf(&d).dead()
		if err != nil {
			t.Fatal(err)
		}
		checkMessage(t, &line{Dead: deadOf(&d)}, &line{Dead: deadOf(&again)})
	case l.Object != nil:
		if o, err := l.Object.object(); err == nil {
			checkMessage(t, l, &line{Object: objectOf(o)})
		}
	}
}

// checkMessage compares lines by what a second turn makes of them: a header without
// values, for example, is none.
func checkMessage(t *testing.T, want, got *line) {
	b, err := got.text()
	if err != nil {
		t.Fatal(err)
	}
	if want.Message != nil {
		m, err := got.Message.message()
		if err != nil {
			t.Fatal(err)
		}
		want = &line{Message: messageOf(&m)}
	}
	a, err := want.text()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("got %s, want %s", b, a)
	}
}
