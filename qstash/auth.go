package qstash

import (
	"net/http"
	"slices"

	"github.com/recallmq/recall/internal/bearer"
)

// tokenParam may carry the token on any endpoint.
const tokenParam = "qstash_token"

// tokensOf lists the tokens of o.
func tokensOf(o *Options) bearer.Tokens {
	return bearer.Of(append([]string{o.Token}, o.Tokens...), o.ReadOnlyTokens)
}

// access is the wider of what the header and the query grant. Either will do:
// a webhook may bear credentials of its own, which are for the endpoint.
func (h *handler) access(r *http.Request) bearer.Access {
	return max(h.tokens.Grants(bearer.From(r)), h.tokens.Grants(queryToken(r.URL.RawQuery)))
}

// admit refuses a request that bears no token, or one that is for reading only
// and asks for more.
func (h *handler) admit(r *http.Request) error {
	switch h.access(r) {
	case bearer.Full:
		return nil
	case bearer.ReadOnly:
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

// bears tells whether the Authorization header has a token of ours, and so is
// not the message's.
func (h *handler) bears(r *http.Request) bool {
	return h.tokens.Grants(bearer.From(r)) != bearer.None
}
