package qstash

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// TestReadOnlyTokenOnEveryRoute: whatever changes something, or tells the signing
// keys, is refused to who may only look, also an endpoint that is added later.
func TestReadOnlyTokenOnEveryRoute(t *testing.T) {
	b, err := recall.New(enginetest.NewReference(), &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	h := NewHandler(b, &Options{Token: "full", ReadOnlyTokens: []string{"r"}})
	for _, route := range routes {
		for method := range route.calls {
			open := method == http.MethodGet && route.path != keysPath || slices.Contains(readingPosts, route.path)
			path := route.path
			if strings.HasSuffix(path, "/") {
				path += "x"
			}
			for _, path := range []string{path, "/" + path + "/", path + "?qstash_token=wrong"} {
				r := httptest.NewRequest(method, "/"+path, nil)
				r.Header.Set("Authorization", "Bearer r")
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				if refused := w.Code == http.StatusForbidden; refused == open {
					t.Errorf("%s /%s: %d %s", method, path, w.Code, w.Body)
				}
			}
		}
	}
}
