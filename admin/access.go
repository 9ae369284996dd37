package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Access is what a request may do.
type Access int

// The kinds of access.
const (
	None     Access = iota // it is refused
	ReadOnly               // calls that change nothing, and tell no secret
	Full
)

// Trusted lets every request do everything. It is for a handler that nobody else
// can reach, or that stands behind a check of its own.
func Trusted(*http.Request) Access { return Full }

// Tokens lets those requests in whose Authorization header bears one of these:
// "Bearer" and the token. A token in both lists is for reading only, and an empty
// text is none. How long it takes says nothing about the tokens.
func Tokens(full, readOnly []string) func(*http.Request) Access {
	var list tokens
	list.add(Full, full)
	list.add(ReadOnly, readOnly)
	return func(r *http.Request) Access { return list.grants(bearer(r)) }
}

// tokens are kept as hashes: they have one length, and nothing else is needed.
type tokens []token

type token struct {
	hash   [sha256.Size]byte
	access Access
}

func (list *tokens) add(a Access, texts []string) {
	for _, text := range texts {
		if text != "" {
			*list = append(*list, token{sha256.Sum256([]byte(text)), a})
		}
	}
}

// grants looks at every token, whatever it has found.
func (list tokens) grants(text string) Access {
	hash := sha256.Sum256([]byte(text))
	full, read := 0, 0
	for i := range list {
		same := subtle.ConstantTimeCompare(hash[:], list[i].hash[:])
		read |= same & subtle.ConstantTimeEq(int32(list[i].access), int32(ReadOnly))
		full |= same
	}
	return Access(subtle.ConstantTimeSelect(read, int(ReadOnly), subtle.ConstantTimeSelect(full, int(Full), int(None))))
}

// bearer is the token of the Authorization header, "" if it has none.
func bearer(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
