package qstash_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// An endpoint that believes only what its queue has signed.
func ExampleVerifier_Handler() {
	verifier, err := qstash.NewVerifier("sig_current", "sig_next", nil)
	if err != nil {
		log.Fatal(err)
	}
	delivered := make(chan string)
	endpoint := httptest.NewServer(verifier.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		delivered <- string(body)
	})))
	defer endpoint.Close()

	// Somebody else knows the address.
	resp, err := http.Post(endpoint.URL, "text/plain", strings.NewReader("give me everything"))
	if err != nil {
		log.Fatal(err)
	}
	_ = resp.Body.Close()
	fmt.Println("not signed:", resp.StatusCode)

	// The queue signs what it delivers.
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	keys := qstash.NewKeys("sig_current", "sig_next")
	b, err := recall.Open(filepath.Join(dir, "queue.db"), &recall.Options{OnRequest: keys.OnRequest})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = b.Close(ctx) }()
	if err := keys.Bind(b); err != nil { // NewHandler would do that
		log.Fatal(err)
	}
	if _, err := b.Publish(ctx, recall.Message{URL: endpoint.URL, Body: []byte("a welcome mail for user 7")}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed:", <-delivered)
	// Output:
	// not signed: 401
	// signed: a welcome mail for user 7
}

// Verify by hand, where a request is no http.Request of package net/http.
func ExampleVerifier_Verify() {
	verifier, err := qstash.NewVerifier("sig_current", "sig_next", nil)
	if err != nil {
		log.Fatal(err)
	}
	err = verifier.Verify("eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl", []byte("body"), "https://example.com/welcome")
	fmt.Println(errors.Is(err, qstash.ErrSignature))
	// Output: true
}

// Check also that a delivery was meant for this endpoint.
func ExampleNewVerifier() {
	verifier, err := qstash.NewVerifier(os.Getenv("QSTASH_CURRENT_SIGNING_KEY"), os.Getenv("QSTASH_NEXT_SIGNING_KEY"),
		&qstash.VerifierOptions{URL: func(r *http.Request) string { return "https://example.com" + r.RequestURI }})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/welcome", verifier.Handler(http.NotFoundHandler()))
}

// Two customers, each with a queue of their own, behind one address.
func ExampleNewUsers() {
	serve := func(ann, ben *recall.Broker) error {
		handler, err := qstash.NewUsers(
			qstash.User{Name: "ann", Broker: ann, Options: &qstash.Options{Token: os.Getenv("ANN_TOKEN")}},
			qstash.User{Name: "ben", Broker: ben, Options: &qstash.Options{
				Token: os.Getenv("BEN_TOKEN"), ReadOnlyTokens: []string{os.Getenv("BEN_DASHBOARD_TOKEN")},
			}},
		)
		if err != nil {
			return err
		}
		return http.ListenAndServe("127.0.0.1:8080", handler)
	}
	_ = serve
}
