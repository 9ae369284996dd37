package qstash

import "net/http"

const keysPath = "v2/keys"

// Clients differ in where they rotate.
var keyRoutes = []route{
	{keysPath, map[string]call{http.MethodGet: (*handler).keys}},
	{"v2/keys/rotate", map[string]call{http.MethodPost: (*handler).rotateKeys}},
	{"v2/rotate", map[string]call{http.MethodPost: (*handler).rotateKeys}},
}

func (h *handler) keys(w http.ResponseWriter, r *http.Request, _ string) error {
	pair, err := h.o.Keys.get(r.Context())
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, pair)
	return nil
}

func (h *handler) rotateKeys(w http.ResponseWriter, r *http.Request, _ string) error {
	current, next, err := h.o.Keys.Rotate(r.Context())
	if err != nil {
		return err
	}
	h.o.Logger.InfoContext(r.Context(), "qstash: the signing keys were rotated", "from", h.from(r), "user_agent", r.UserAgent())
	answer(w, http.StatusOK, keyPair{current, next})
	return nil
}
