package qstash

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// tokenParam may carry the token on any endpoint.
const tokenParam = "qstash_token"

// authorized tells whether the header or the query has the token. Either will
// do: a webhook may bear credentials of its own, which are for the endpoint.
func (h *handler) authorized(r *http.Request) bool {
	return h.bears(r) || h.isToken(queryToken(r.URL.RawQuery))
}

func queryToken(raw string) string {
	for p, err := range pairsOf(raw) {
		if err == nil && p.name == tokenParam {
			return p.value
		}
	}
	return ""
}

// bears tells whether the Authorization header has the token, and so is ours
// and not the message's.
func (h *handler) bears(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.EqualFold(scheme, "Bearer") && h.isToken(token)
}

// isToken takes the same time for every text: hashes have one length.
func (h *handler) isToken(text string) bool {
	got, want := sha256.Sum256([]byte(text)), sha256.Sum256([]byte(h.o.Token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}
