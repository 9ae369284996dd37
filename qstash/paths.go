package qstash

import (
	"net/url"
	"strings"
)

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

// noAction refuses the last word of a path.
func noAction(action string, known ...string) error {
	return notFound("no such endpoint: %.100q is none of %s", action, strings.Join(known, ", "))
}
