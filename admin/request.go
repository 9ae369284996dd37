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

// checkMembers refuses what is not one object, and one in which a name comes twice,
// in whatever letters: the decoder would take the last.
func checkMembers(data []byte) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return badRequest("it is not a JSON object")
	}
	seen := map[string]bool{}
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return badRequest("%v", err)
		}
		name, _ := token.(string)
		folded := strings.ToLower(name)
		if seen[folded] {
			return badRequest("%.100q is given twice", name)
		}
		seen[folded] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return badRequest("%v", err)
		}
	}
	if _, err := dec.Token(); err != nil {
		return badRequest("%v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("there is more behind the object")
	}
	return nil
}
