package qstash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Handler returns a handler that passes on to next what is signed, and answers
// the rest itself with {"error":"text"}: 401 if there is no signature, 403 if it
// does not hold, 413 if the body is larger than VerifierOptions.MaxBody, 400 if
// it cannot be read. The queue takes all of these for failed attempts.
//
// The body is read whole before next is called, which reads it as usual. A
// request without a signature is answered before its body is read.
func (v *Verifier) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, err := v.check(w, r); err != nil {
			answer(w, status, map[string]string{"error": err.Error()})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check verifies r and puts a body in the place of the one that it has read.
func (v *Verifier) check(w http.ResponseWriter, r *http.Request) (status int, err error) {
	signature := r.Header.Get(headerSignature)
	if signature == "" {
		return http.StatusUnauthorized, ErrNotSigned
	}
	body, err := readAll(w, r, v.o.MaxBody)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, errors.New("qstash: the body is too large")
	case err != nil:
		return http.StatusBadRequest, errors.New("qstash: the body cannot be read")
	}
	url, err := v.urlOf(r)
	if err == nil {
		err = v.Verify(signature, body, url)
	}
	if err != nil {
		return http.StatusForbidden, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return 0, nil
}

// urlOf returns what the signature has to be for, "" for any URL.
func (v *Verifier) urlOf(r *http.Request) (string, error) {
	if v.o.URL == nil {
		return "", nil
	}
	url := v.o.URL(r)
	if url == "" {
		return "", fmt.Errorf("%w: nothing is known of this URL", ErrSignature)
	}
	return url, nil
}

func readAll(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if r.Body == nil {
		return nil, nil
	}
	defer r.Body.Close()
	return io.ReadAll(http.MaxBytesReader(w, r.Body, most))
}
