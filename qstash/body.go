package qstash

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"unicode/utf8"
)

// maxControl bounds the body of a request that sets something, in bytes.
const maxControl = 1 << 20

// readObject reads the body of a request that sets something: one JSON object,
// whatever its Content-Type, in which unknown members are refused. One that says
// more than we know would be half done.
func readObject(r *http.Request, into any) error {
	data, err := io.ReadAll(bodyOf(r, maxControl))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return httpError(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", maxControl)
	case err != nil:
		return badRequest("the body could not be read: %v", err)
	case !utf8.Valid(data): // the decoder would put other characters in its place
		return badRequest("the body is not valid UTF-8")
	case !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")):
		return badRequest("the body is not a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return unreadable(jsonFault(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return badRequest("something follows the JSON object")
	}
	return nil
}

// jsonFault says what is wrong with a value as who wrote it knows it: by its name
// there, and not by a type of ours.
func jsonFault(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	text := wrong.Value + " does not go here"
	if wrong.Field != "" {
		text = wrong.Field + ": " + text
	}
	return errors.New(text)
}
