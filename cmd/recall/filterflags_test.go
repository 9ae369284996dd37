package main

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// TestEveryFieldHasAFlag: a Filter can say nothing that flags cannot.
func TestEveryFieldHasAFlag(t *testing.T) {
	members := map[string]bool{}
	for _, name := range filterFields {
		members[name] = true
	}
	fields := reflect.TypeFor[recall.Filter]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if !members[name] {
			t.Errorf("no flag for %s", name)
		}
		delete(members, name)
	}
	if len(members) > 0 {
		t.Errorf("flags for %v, which no Filter has", members)
	}
}

// TestFlagsFill sets each flag alone: it fills the member that it is for, and no
// other.
func TestFlagsFill(t *testing.T) {
	values := map[string]string{
		"id": "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", "caller-ip": "10.0.0.0/8", "state": "held", "min-attempts": "2",
		"from": "2026-01-01", "to": "2026-01-01", "due-after": "2026-01-01", "due-before": "2026-01-01",
	}
	for flag, member := range filterFields {
		value := values[flag]
		if value == "" {
			value = "a,b" // one value: labels may have commas
		}
		var f filterFlags
		cmd := &cobra.Command{}
		f.addFlags(cmd)
		if err := cmd.ParseFlags([]string{"--" + flag, value}); err != nil {
			t.Fatal(err)
		}
		got, err := f.filter()
		if err != nil {
			t.Errorf("--%s: %v", flag, err)
			continue
		}
		text, _ := json.Marshal(got)
		if !strings.HasPrefix(string(text), `{"`+member+`":`) || strings.Count(string(text), `":`) != 1 {
			t.Errorf("--%s: got %s", flag, text)
		}
	}
}

func TestFilterFlagsAndJSON(t *testing.T) {
	var f filterFlags
	cmd := &cobra.Command{}
	f.addFlags(cmd)
	if err := cmd.ParseFlags([]string{"--label", "x", "--label", "y", "--filter", `{"queues":[],"from":"2026-01-02T03:04:05+01:00"}`}); err != nil {
		t.Fatal(err)
	}
	got, err := f.filter()
	if err != nil {
		t.Fatal(err)
	}
	if text := got.String(); text != "queue= label=x|y from=2026-01-02T02:04:05Z" {
		t.Errorf("got %s", text)
	}
	if got.Queues == nil {
		t.Error("an empty list, which matches nothing, is none, which matches all")
	}
}
