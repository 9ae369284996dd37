package main

import (
	"encoding/json"
	"net/http"
)

// answerJSON is for what stands beside the API; errors look like those of it.
func answerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client is gone if this fails
}
