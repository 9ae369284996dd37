package qstash

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
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

// cutAction takes the last word off what a path has behind its route, if there are
// two: "mails/pause" is the name "mails" and the action "pause", in lower case. A
// slash at the end counts for nothing. The name has its escapes resolved; one with
// a bad escape names nothing.
func cutAction(rest string) (name, action string) {
	rest = strings.TrimSuffix(rest, "/")
	if i := strings.LastIndexByte(rest, '/'); i >= 0 {
		rest, action = rest[:i], strings.ToLower(rest[i+1:])
	}
	return unescaped(rest), action
}

// nameIn is the name that all of the rest of a path is.
func nameIn(rest string) string { return unescaped(strings.TrimSuffix(rest, "/")) }

func unescaped(text string) string {
	if plain, err := url.PathUnescape(text); err == nil {
		return plain
	}
	return text
}

// usable tells whether a list is one although there was an error: then that is
// about objects which could not be read, and which the log has.
func usable[T any](h *handler, list []T, err error) bool {
	if err == nil || list == nil {
		return err == nil
	}
	h.o.Logger.Error("qstash: a list is not complete", "error", err)
	return true
}

// done answers what has nothing to say but that it was done.
func done(w http.ResponseWriter) error {
	answer(w, http.StatusOK, struct{}{})
	return nil
}

// noAction refuses the last word of a path.
func noAction(action string, known ...string) error {
	return notFound("no such endpoint: %.100q is none of %s", action, strings.Join(known, ", "))
}
