// Package bearer checks the tokens that requests bear.
package bearer

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// Access is what a token lets a request do. A wider one is greater.
type Access int

// The kinds of access.
const (
	None Access = iota
	ReadOnly
	Full
)

// Tokens are what is let in, as hashes: they have one length, and nothing else of a
// token is needed.
type Tokens []Token

// Token is one of them.
type Token struct {
	Hash   [sha256.Size]byte
	access Access
}

// Of lists tokens. An empty text is none: what a program reads from its environment
// may be missing there, and would let everybody in.
func Of(full, readOnly []string) (list Tokens) {
	add := func(a Access, texts []string) {
		for _, text := range texts {
			if text != "" {
				list = append(list, Token{sha256.Sum256([]byte(text)), a})
			}
		}
	}
	add(Full, full)
	add(ReadOnly, readOnly)
	return list
}

// Grants returns what a text lets its bearer do. It looks at every token, in the
// same time for every text. For one that is in both lists the narrower access holds.
func (list Tokens) Grants(text string) Access {
	hash := sha256.Sum256([]byte(text))
	full, read := 0, 0
	for i := range list {
		same := subtle.ConstantTimeCompare(hash[:], list[i].Hash[:])
		read |= same & subtle.ConstantTimeEq(int32(list[i].access), int32(ReadOnly))
		full |= same
	}
	return Access(subtle.ConstantTimeSelect(read, int(ReadOnly), subtle.ConstantTimeSelect(full, int(Full), int(None))))
}

// From is the token of the Authorization header, "" if it has none.
func From(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}
