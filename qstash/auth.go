package qstash

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
)

// tokenParam may carry the token on any endpoint.
const tokenParam = "qstash_token"

// access is what a token lets a request do.
type access int

const (
	noAccess access = iota
	readAccess
	fullAccess
)

// tokens are those of one user, as hashes: they have one length, and nothing
// else of a token is needed.
type tokens []token

type token struct {
	hash   [sha256.Size]byte
	access access
}

// tokensOf lists the tokens of o. An empty text is none: what a program reads
// from its environment may be missing there, and would let everybody in.
func tokensOf(o *Options) (list tokens) {
	add := func(text string, a access) {
		if text != "" {
			list = append(list, token{sha256.Sum256([]byte(text)), a})
		}
	}
	add(o.Token, fullAccess)
	for _, text := range o.Tokens {
		add(text, fullAccess)
	}
	for _, text := range o.ReadOnlyTokens {
		add(text, readAccess)
	}
	return list
}

// grants returns what a text lets its bearer do. It looks at every token, in
// the same time for every text. For one that is in both lists the narrower
// access holds.
func (list tokens) grants(text string) access {
	hash := sha256.Sum256([]byte(text))
	full, read := 0, 0
	for i := range list {
		same := subtle.ConstantTimeCompare(hash[:], list[i].hash[:])
		read |= same & subtle.ConstantTimeEq(int32(list[i].access), int32(readAccess))
		full |= same
	}
	return access(subtle.ConstantTimeSelect(read, int(readAccess), subtle.ConstantTimeSelect(full, int(fullAccess), int(noAccess))))
}

// access is the wider of what the header and the query grant. Either will do:
// a webhook may bear credentials of its own, which are for the endpoint.
func (h *handler) access(r *http.Request) access {
	return max(h.tokens.grants(bearer(r)), h.tokens.grants(queryToken(r.URL.RawQuery)))
}

// admit refuses a request that bears no token, or one that is for reading only
// and asks for more.
func (h *handler) admit(r *http.Request) error {
	switch h.access(r) {
	case fullAccess:
		return nil
	case readAccess:
		if reads(r) {
			return nil
		}
		return httpError(http.StatusForbidden, "this token is for reading only")
	}
	return httpError(http.StatusUnauthorized, "missing or wrong token")
}

// reads tells whether a request changes nothing and asks for no secret: who has
// the signing keys can make up deliveries.
func reads(r *http.Request) bool {
	path := routePath(r)
	is := func(route string) bool {
		_, ok := match(route, path)
		return ok
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return !is(keysPath)
	case http.MethodPost:
		return slices.ContainsFunc(readingPosts, is)
	}
	return false
}

// readingPosts take a filter, which may be too long for a query, and change
// nothing.
var readingPosts = []string{"recall/v1/count", "recall/v1/explain"}

func queryToken(raw string) string {
	for p, err := range pairsOf(raw) {
		if err == nil && p.name == tokenParam {
			return p.value
		}
	}
	return ""
}

// bearer is the token of the Authorization header, "" if it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// bears tells whether the Authorization header has a token of ours, and so is
// not the message's.
func (h *handler) bears(r *http.Request) bool {
	return h.tokens.grants(bearer(r)) != noAccess
}
