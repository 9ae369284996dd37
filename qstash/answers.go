package qstash

import (
	"encoding/json"
	"net/http"
)

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // the client is gone if this fails
}

// usable tells whether a list is one although there was an error: then that is
// about objects which could not be read, and which the log has.
func usable[T any](h *handler, list []T, err error) bool {
	if err == nil || list == nil {
		return err == nil
	}
	h.o.Logger.Error("qstash: a list is not complete", "error", err)
	return true
}

// done answers what has nothing to say but that it was done.
func done(w http.ResponseWriter) error {
	answer(w, http.StatusOK, struct{}{})
	return nil
}
