package pgtest

import "testing"

// TestFrames cuts what a client says at every place.
func TestFrames(t *testing.T) {
	text := []byte("\x00\x00\x00\x08\x04\xd2\x16\x2fQ\x00\x00\x00\x0dSELECT 1\x00P\x00\x00\x00\x08SQS\x00S\x00\x00\x00\x04S\x00\x00\x00\x04")
	for i := range text {
		var f frames
		if n := f.requests(text[:i]) + f.requests(text[i:]); n != 3 {
			t.Errorf("%d requests with a cut at %d, want 3", n, i)
		}
	}
}

// TestProxyCuts loses a connection at the second of three requests.
func TestProxyCuts(t *testing.T) {
	dsn, schema := Schema(t)
	for where, want := range map[Cut]int{CutBefore: 1, CutAfter: 2} {
		p, through := NewProxy(t, dsn)
		conn := connect(t, through)
		if _, err := conn.Exec(t.Context(), "CREATE SCHEMA IF NOT EXISTS "+schema+"; DROP TABLE IF EXISTS "+schema+".t; CREATE TABLE "+schema+".t (n int)"); err != nil {
			t.Fatal(err)
		}
		p.At(2, func() Cut { return where })
		failed := 0
		for range 3 {
			if _, err := conn.Exec(t.Context(), "INSERT INTO "+schema+".t VALUES (1)"); err != nil {
				failed++
			}
		}
		if n := one(t, dsn, "SELECT count(*)::int FROM "+schema+".t"); n != want || failed != 2 || p.Pending() {
			t.Errorf("cut %d: %d rows, want %d; %d failed", where, n, want, failed)
		}
	}
}
