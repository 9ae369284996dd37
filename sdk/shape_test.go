package sdk_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// kind is what a JSON value has to be.
type kind string

const (
	text    kind = "a text"
	whole   kind = "a whole number"
	truth   kind = "true or false"
	headers kind = "an object of arrays of texts"
)

// object is a JSON object with at least these fields. A name that ends in a
// question mark need not be there, and must not be null.
type object map[string]any

// all is an array of at least one element, each of a kind.
type all struct{ of any }

// each is an array with exactly these elements.
type each []any

// integers is an object with these fields whose values are all whole numbers:
// Go's SDK decodes some answers to a map of int.
type integers map[string]int

// either is one of several texts.
type either []string

// check says how a decoded JSON value is not what it has to be: a kind, one of
// the types above, or the value itself, with int for numbers.
func check(where string, v, want any) (faults []string) {
	fault := func() []string { return []string{fmt.Sprintf("%s is %v, want %v", where, v, want)} }
	switch want := want.(type) {
	case kind:
		if !want.fits(v) {
			return fault()
		}
	case object:
		return want.check(where, v)
	case all:
		list, ok := v.([]any)
		if !ok || len(list) == 0 {
			return fault()
		}
		for i, e := range list {
			faults = append(faults, check(fmt.Sprintf("%s[%d]", where, i), e, want.of)...)
		}
		return faults
	case each:
		list, ok := v.([]any)
		if !ok || len(list) != len(want) {
			return fault()
		}
		for i, e := range list {
			faults = append(faults, check(fmt.Sprintf("%s[%d]", where, i), e, want[i])...)
		}
		return faults
	case integers:
		fields := object{}
		for name, n := range want {
			fields[name] = n
		}
		m, _ := v.(map[string]any)
		for name, e := range m {
			faults = append(faults, check(where+"."+name, e, whole)...)
		}
		return append(faults, fields.check(where, v)...)
	case either:
		if s, ok := v.(string); !ok || !slices.Contains(want, s) {
			return fault()
		}
	case int:
		if v != float64(want) {
			return fault()
		}
	default:
		if v != want {
			return fault()
		}
	}
	return nil
}

func (o object) check(where string, v any) (faults []string) {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s is %v, want an object", where, v)}
	}
	for name, want := range o {
		name, optional := cutOptional(name)
		e, there := m[name]
		switch {
		case there:
			faults = append(faults, check(where+"."+name, e, want)...)
		case !optional:
			faults = append(faults, fmt.Sprintf("%s has no %s", where, name))
		}
	}
	return faults
}

func cutOptional(name string) (string, bool) {
	if n := len(name) - 1; name[n] == '?' {
		return name[:n], true
	}
	return name, false
}

func (k kind) fits(v any) bool {
	switch k {
	case text:
		_, ok := v.(string)
		return ok
	case whole:
		n, ok := v.(float64)
		return ok && n == math.Trunc(n)
	case truth:
		_, ok := v.(bool)
		return ok
	case headers:
		m, ok := v.(map[string]any)
		for _, e := range m {
			values, isList := e.([]any)
			ok = ok && isList && !slices.ContainsFunc(values, func(v any) bool { return !text.fits(v) })
		}
		return ok
	}
	return false
}

// TestCheck shows check what is not as it has to be.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		v, want any
		fits    bool
	}{
		{"a", text, true},
		{1.0, text, false},
		{1.0, whole, true},
		{1.5, whole, false},
		{nil, truth, false},
		{map[string]any{"A": []any{"b"}}, headers, true},
		{map[string]any{"A": "b"}, headers, false},
		{map[string]any{"a": 1.0, "b": "x"}, object{"a": 1, "c?": text}, true},
		{map[string]any{"a": 1.0, "c": nil}, object{"a": 1, "c?": text}, false},
		{map[string]any{}, object{"a": 1}, false},
		{[]any{"a"}, all{text}, true},
		{[]any{}, all{text}, false},
		{[]any{"a", 1.0}, each{text, whole}, true},
		{[]any{"a"}, each{}, false},
		{map[string]any{"n": 2.0, "m": 0.0}, integers{"n": 2}, true},
		{map[string]any{"n": 2.0, "id": "x"}, integers{"n": 2}, false},
		{"b", either{"a", "b"}, true},
		{"c", either{"a", "b"}, false},
	} {
		if faults := check("v", c.v, c.want); len(faults) == 0 != c.fits {
			t.Errorf("%v, %v: %v", c.v, c.want, faults)
		}
	}
}
