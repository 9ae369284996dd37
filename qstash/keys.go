package qstash

import "net/http"

var keyRoutes = []route{
	{"v2/keys", map[string]call{http.MethodGet: (*handler).keys}},
}

func (h *handler) keys(w http.ResponseWriter, _ *http.Request, _ string) error {
	answer(w, http.StatusOK, map[string]string{"current": h.o.CurrentSigningKey, "next": h.o.NextSigningKey})
	return nil
}
