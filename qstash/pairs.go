package qstash

import (
	"errors"
	"iter"
	"net/url"
	"strings"
)

// pair is a name with its value, of a query or a form.
type pair struct{ name, value string }

var errSemicolon = errors.New("a semicolon stands between two parameters")

// pairsOf reads a query or a form like [url.ParseQuery], but any number of pairs:
// that refuses more than 10,000, and ids come one by one.
func pairsOf(raw string) iter.Seq2[pair, error] {
	return func(yield func(pair, error) bool) {
		for part := range strings.SplitSeq(raw, "&") {
			if part == "" {
				continue
			}
			if !yield(readPair(part)) {
				return
			}
		}
	}
}

func readPair(part string) (p pair, err error) {
	if strings.Contains(part, ";") {
		return p, errSemicolon
	}
	name, value, _ := strings.Cut(part, "=")
	if p.name, err = url.QueryUnescape(name); err == nil {
		p.value, err = url.QueryUnescape(value)
	}
	return p, err
}
