package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/recallmq/recall"
)

// showReport writes what a call about a file has found: lines for people, or JSON
// with the names of the fields.
func showReport(c *console, asJSON bool, report fmt.Stringer) error {
	if asJSON {
		v, err := withSmallNames(withLists(report))
		if err != nil {
			return err
		}
		return printJSON(c.out, v)
	}
	text, _ := plainText([]byte(strings.TrimRight(report.String(), "\n")))
	c.say("%s", text)
	return nil
}

// withLists is a report whose lists, and the numbers by state, are there when they are
// empty.
func withLists(report fmt.Stringer) fmt.Stringer {
	switch r := report.(type) {
	case recall.CheckReport:
		r.Findings = append([]recall.Finding{}, r.Findings...)
		if r.Messages == nil {
			r.Messages = map[recall.State]int{}
		}
		return r
	case recall.SalvageReport:
		r.Findings = append([]recall.Finding{}, r.Findings...)
		r.Doubts = append([]string{}, r.Doubts...)
		r.LostMessages = append([]uint64{}, r.LostMessages...)
		r.LostDeadLetters = append([]uint64{}, r.LostDeadLetters...)
		return r
	}
	return report
}

// withSmallNames is what encoding/json makes of a value, with a small letter in front
// of every name.
func withSmallNames(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber() // no number passes through a float
	var plain any
	err = dec.Decode(&plain)
	return smallNames(plain), err
}

func smallNames(v any) any {
	switch v := v.(type) {
	case map[string]any:
		small := make(map[string]any, len(v))
		for name, value := range v {
			small[strings.ToLower(name[:min(1, len(name))])+name[min(1, len(name)):]] = smallNames(value)
		}
		return small
	case []any:
		for i := range v {
			v[i] = smallNames(v[i])
		}
	}
	return v
}
