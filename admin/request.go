package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

// badRequest is about a body that cannot be read.
func badRequest(format string, args ...any) error {
	return &recall.InvalidError{Field: "request", Reason: fmt.Sprintf(format, args...)}
}

// read decodes the body of a request. An empty one is the zero Q.
func read[Q any](r *http.Request) (*Q, error) {
	data, err := io.ReadAll(r.Body)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, ErrTooLarge
	case err != nil:
		return nil, badRequest("the body cannot be read: %v", err)
	}
	q := new(Q)
	return q, decode(data, q)
}

// decode is strict: a call that says less than was meant might take more.
func decode(data []byte, q any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if !utf8.Valid(data) { // the decoder would put other characters in its place
		return badRequest("it is not valid UTF-8")
	}
	if err := checkMembers(data); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	err := dec.Decode(q)
	var invalid *recall.InvalidError
	switch {
	case errors.As(err, &invalid):
		return invalid
	case err != nil:
		return badRequest("%v", err)
	}
	return nil
}

// checkMembers refuses what is not one object, and one in which, however deep, a name
// comes twice in whatever letters: the decoder would take the last.
func checkMembers(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // that a number is too large is for the decoder to say
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return badRequest("it is not a JSON object")
	}
	if err := checkObject(dec, 1, fold); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("there is more behind the object")
	}
	return nil
}

// maxDepth is how deep objects and lists may be in each other: far more than any call
// has, and far less than the stack holds.
const maxDepth = 1000

// checkObject checks what is left of an object. Two names are the same if key makes the
// same of them.
func checkObject(dec *json.Decoder, depth int, key func(string) string) error {
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return badRequest("%v", err)
		}
		name, _ := token.(string)
		if seen[key(name)] {
			return badRequest("%.100q is given twice", name)
		}
		seen[key(name)] = true
		within := fold
		if fold(name) == "header" { // its names are data
			within = exact
		}
		if err := checkValue(dec, depth+1, within); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return badRequest("%v", err)
	}
	return nil
}

// checkValue checks the next value.
func checkValue(dec *json.Decoder, depth int, key func(string) string) error {
	token, err := dec.Token()
	switch {
	case err != nil:
		return badRequest("%v", err)
	case depth > maxDepth:
		return badRequest("it is nested too deep")
	case token == json.Delim('{'):
		return checkObject(dec, depth, key)
	case token != json.Delim('['):
		return nil
	}
	for dec.More() {
		if err := checkValue(dec, depth+1, fold); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return badRequest("%v", err)
	}
	return nil
}

// fold makes the same of names that the decoder takes for the same. Some letters have
// more than two forms.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

func exact(name string) string { return name }
