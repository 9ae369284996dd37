package admin

import (
	"net/http"

	"github.com/recallmq/recall/internal/bearer"
)

// Access is what a request may do.
type Access int

// The kinds of access.
const (
	None     = Access(bearer.None)     // it is refused
	ReadOnly = Access(bearer.ReadOnly) // calls that change nothing, and tell no secret
	Full     = Access(bearer.Full)
)

// Trusted lets every request do everything. It is for a handler that nobody else
// can reach, or that stands behind a check of its own.
func Trusted(*http.Request) Access { return Full }

// Tokens lets those requests in whose Authorization header bears one of these:
// "Bearer" and the token. A token in both lists is for reading only, and an empty
// text is none. How long it takes says nothing about the tokens.
func Tokens(full, readOnly []string) func(*http.Request) Access {
	list := bearer.Of(full, readOnly)
	return func(r *http.Request) Access { return Access(list.Grants(bearer.From(r))) }
}
