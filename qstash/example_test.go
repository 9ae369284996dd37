package qstash_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// Serve QStash's API from a file, publish two messages as an SDK would, and
// take one of them back by its label.
func ExampleNewHandler() {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	broker, err := recall.Open(filepath.Join(dir, "queue.db"), &recall.Options{OnRequest: qstash.OnRequest})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = broker.Close(context.Background()) }()

	// A program would call http.ListenAndServe, with a token of its own.
	server := httptest.NewServer(qstash.NewHandler(broker, &qstash.Options{Token: "secret"}))
	defer server.Close()

	call := func(method, path, label string) (*http.Response, error) {
		req, err := http.NewRequest(method, server.URL+path, strings.NewReader(""))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer secret")
		if label != "" {
			req.Header.Set("Upstash-Delay", "1h")
			req.Header.Set("Upstash-Label", label)
		}
		return http.DefaultClient.Do(req)
	}
	for _, label := range []string{"spring", "summer"} {
		resp, err := call(http.MethodPost, "/v2/publish/https://example.com/mail", label)
		if err != nil {
			log.Fatal(err)
		}
		_ = resp.Body.Close()
		fmt.Println("publish:", resp.StatusCode)
	}
	resp, err := call(http.MethodDelete, "/v2/messages?label=spring", "")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("cancel: %d %s", resp.StatusCode, body)
	// Output:
	// publish: 200
	// publish: 200
	// cancel: 202 {"cancelled":1}
}

// A server of which every error is JSON, also those of requests that cannot be read.
func ExampleListener() {
	serve := func(handler http.Handler, address string) error {
		web := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		return web.Serve(qstash.Listener(web, l))
	}
	log.Fatal(serve(http.NotFoundHandler(), "127.0.0.1:8080"))
}

// A program that serves the API until it is stopped.
func ExampleNewHandler_listen() {
	serve := func(ctx context.Context, token, currentKey, nextKey string) error {
		keys := qstash.NewKeys(currentKey, nextKey)
		b, err := recall.Open("queue.db", &recall.Options{OnRequest: keys.OnRequest})
		if err != nil {
			return err
		}
		defer b.Close(ctx)
		return http.ListenAndServe("127.0.0.1:8080", qstash.NewHandler(b, &qstash.Options{Token: token, Keys: keys}))
	}
	log.Fatal(serve(context.Background(), os.Getenv("QSTASH_TOKEN"),
		os.Getenv("QSTASH_CURRENT_SIGNING_KEY"), os.Getenv("QSTASH_NEXT_SIGNING_KEY")))
}
