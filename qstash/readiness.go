package qstash

import "net/http"

// readinessRoutes serve a question of Python's SDK, which bears the token like
// every other.
var readinessRoutes = []route{
	{"v2/readiness", map[string]call{http.MethodGet: (*handler).readiness}},
}

// readiness is false from when the file has failed: no message is taken until it
// is opened again.
func (h *handler) readiness(w http.ResponseWriter, _ *http.Request, _ string) error {
	answer(w, http.StatusOK, map[string]bool{"ready": !h.b.Stats().Broken})
	return nil
}
