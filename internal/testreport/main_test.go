package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	const pass = `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"p","Elapsed":1.5}` + "\n"
	for _, c := range []struct {
		name, in, last string
		ok             bool
	}{
		{"all pass", "@module .\n" + pass, "1 passed, 0 failed, 0 skipped", true},
		{"one fails", "@module .\n" + pass + `{"Action":"fail","Package":"p","Test":"TestB"}`, "1 passed, 1 failed, 0 skipped", false},
		{"one is skipped", "@module .\n" + pass + `{"Action":"skip","Package":"p","Test":"TestB"}`, "1 passed, 0 failed, 1 skipped", true},
		{"no build", "@module .\n" + pass + `{"Action":"fail","Package":"q"}`, "1 passed, 1 failed, 0 skipped", false},
		{"a module without tests", "@module .\n" + pass + "@module bench\n", "1 passed, 0 failed, 0 skipped", false},
		{"nothing", "", "0 passed, 0 failed, 0 skipped", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r := &report{out: &out, ran: map[string]int{}, output: map[string][]string{}, hasFails: map[string]bool{}}
			if err := r.read(strings.NewReader(c.in)); err != nil {
				t.Fatal(err)
			}
			if ok := r.summary(); ok != c.ok {
				t.Errorf("summary() = %v, want %v", ok, c.ok)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if last := lines[len(lines)-1]; last != c.last {
				t.Errorf("last line %q, want %q", last, c.last)
			}
		})
	}
}
