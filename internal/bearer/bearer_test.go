package bearer_test

import (
	"net/http"
	"testing"

	"github.com/recallmq/recall/internal/bearer"
)

func TestGrants(t *testing.T) {
	list := bearer.Of([]string{"full", "", "both"}, []string{"both", "read"})
	if len(list) != 4 {
		t.Errorf("got %d tokens, want 4", len(list))
	}
	for text, want := range map[string]bearer.Access{
		"full": bearer.Full, "read": bearer.ReadOnly, "both": bearer.ReadOnly, "": bearer.None, "ful": bearer.None, "full ": bearer.None,
	} {
		if got := list.Grants(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	if got := bearer.Tokens(nil).Grants(""); got != bearer.None {
		t.Errorf("without tokens: got %d", got)
	}
}

func TestFrom(t *testing.T) {
	for header, want := range map[string]string{
		"Bearer abc": "abc", "bearer abc": "abc", "Basic abc": "", "Bearer": "", "": "", "Bearer a b": "a b",
	} {
		if got := bearer.From(&http.Request{Header: http.Header{"Authorization": {header}}}); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}
