package dashboard

import (
	"errors"
	"mime"
	"net/http"
)

// maxForm bounds the body of a request, in bytes. Filters may name many ids.
const maxForm = 1 << 20

// policy lets pages load what the handler itself serves from its own addresses,
// and nothing else. There is no inline script and no inline style.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets the headers that every answer has.
func secure(header http.Header) {
	for name, value := range map[string]string{
		"Content-Security-Policy":      policy,
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "same-origin", // with no-referrer forms would have the origin "null"
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
		"Cache-Control":                "no-store",
	} {
		header.Set(name, value)
	}
}

// admit refuses requests that a page of another origin has made its visitor send,
// and bounds what is read of the others.
func (h *handler) admit(w http.ResponseWriter, r *http.Request) error {
	if err := h.cross.Check(r); err != nil {
		return &fault{status: http.StatusForbidden, text: "The request comes from a page of another origin."}
	}
	if r.Method != http.MethodPost {
		return nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return &fault{status: http.StatusUnsupportedMediaType, text: "Only forms are understood."}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	return nil
}

// check reads the form of a request, and refuses changes by those who may only
// look. To leave is no change.
func (v *visit) check() error {
	if v.r.Method == http.MethodPost && v.r.URL.Path != "/logout" {
		if err := v.mustWrite(); err != nil {
			return err
		}
	}
	return parseForm(v.r)
}

// mustWrite refuses what changes something, or has no other purpose than to ask for it.
func (v *visit) mustWrite() error {
	if !v.write {
		return &fault{status: http.StatusForbidden, text: "You may look here, and change nothing."}
	}
	return nil
}

func parseForm(r *http.Request) error {
	var long *http.MaxBytesError
	switch err := r.ParseForm(); {
	case errors.As(err, &long):
		return &fault{status: http.StatusRequestEntityTooLarge, text: "The form is too long."}
	case err != nil:
		return &fault{status: http.StatusBadRequest, text: "The form cannot be read."}
	}
	return nil
}
