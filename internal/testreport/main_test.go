package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

const (
	passA = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":1.5}` + "\n"
	failB = `{"Action":"output","Package":"p","Test":"TestB","Output":"got 1\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}` + "\n"
)

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		name, in, last string
		says           string // somewhere in the report
	}{
		{"all pass", "@module .\n" + passA, "1 passed, 0 failed, 0 skipped", "pass      1.5s  p"},
		{"one fails", "@module .\n" + passA + failB, "1 passed, 1 failed, 0 skipped", "FAIL  p TestB\ngot 1\n"},
		{"one fails, and so does go test", "@module .\n" + passA + failB + "@failed .: go test", "1 passed, 1 failed, 0 skipped", ""},
		{"go test fails with no failed test", "@module .\n" + passA + "@failed .: go test", "1 passed, 1 failed, 0 skipped", ""},
		{
			"one is skipped", "@module .\n" + passA + `{"Action":"output","Package":"p","Test":"TestB","Output":"  b_test.go:1: no strace\n"}` + "\n" +
				`{"Action":"skip","Package":"p","Test":"TestB"}`,
			"1 passed, 0 failed, 1 skipped", "SKIPPED p TestB: b_test.go:1: no strace\n",
		},
		{
			"no build", "@module .\n" + passA + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined\n"}` + "\n" +
				`{"Action":"fail","Package":"q"}`,
			"1 passed, 1 failed, 0 skipped", "q.go:1: undefined\n",
		},
		{
			"a panic after a failed test", "@module .\n" + failB + `{"Action":"output","Package":"p","Test":"TestC","Output":"panic: oh\n"}` + "\n" +
				`{"Action":"fail","Package":"p"}`,
			"0 passed, 1 failed, 0 skipped", "panic: oh\n",
		},
		{"vet fails", "@module .\nx.go:1: bad\n@failed .: go vet\n" + passA, "1 passed, 1 failed, 0 skipped", "x.go:1: bad\n"},
		{"a part is missing", "@skipped the race detector\n@module .\n" + passA, "1 passed, 0 failed, 1 skipped", "SKIPPED the race detector\n"},
		{"a module without tests", "@module .\n" + passA + "@module bench\n", "1 passed, 1 failed, 0 skipped", "bench has run no test"},
		{"a module that skips all", "@module .\n" + `{"Action":"skip","Package":"p","Test":"TestB"}`, "0 passed, 1 failed, 1 skipped", ". has run no test"},
		{"nothing", "", "0 passed, 1 failed, 0 skipped", "no module"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := newReport(&out, func() time.Time { return time.Unix(0, 0) })
			if err := r.read(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			ok := r.summary()
			if want := strings.Contains(c.last, " 0 failed"); ok != want {
				t.Errorf("summary() = %v, want %v", ok, want)
			}
			if !strings.HasSuffix(out.String(), "\n"+c.last+"\n") {
				t.Errorf("got\n%s\nwant the last line %q", &out, c.last)
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("got\n%s\nwant it to say %q", &out, c.says)
			}
		})
	}
}
