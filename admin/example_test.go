package admin_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// A server with a token, and a client that takes back what was published.
func ExampleNewHandler() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "admin")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := recall.Open(filepath.Join(dir, "q.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close(ctx)
	server := httptest.NewServer(admin.NewHandler(b, &admin.Options{Access: admin.Tokens([]string{"secret"}, nil)}))
	defer server.Close()

	c, err := admin.New(server.URL, "secret", nil)
	if err != nil {
		log.Fatal(err)
	}
	_, err = c.Publish(ctx, recall.Message{URL: "https://example.com/campaign", Labels: []string{"campaign-12"}, Delay: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	result, err := c.CancelMatching(ctx, recall.Filter{Labels: []string{"campaign-12"}}, admin.Bulk{Reason: "wrong price"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("took back:", result.Cancelled)
	back, err := c.Restore(ctx, result.Operation)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("restored:", back.Restored)
	// Output:
	// took back: 1
	// restored: 1
}

// takeBack is the client's part of docs/admin.md.
func takeBack(ctx context.Context) error {
	c, err := admin.New("https://queue.example.com", os.Getenv("QSTASH_TOKEN"), nil)
	if err != nil {
		return err
	}
	result, err := c.CancelMatching(ctx, recall.Filter{Labels: []string{"campaign-12"}}, admin.Bulk{Reason: "wrong price"})
	var blocked *recall.NotCancellableError
	if errors.As(err, &blocked) {
		fmt.Println("stopped at", blocked.ID, "after", result.Cancelled)
	}
	return err
}

// mounted is the server's part.
func mounted(mux *http.ServeMux, b *recall.Broker, token string) {
	h := admin.NewHandler(b, &admin.Options{Access: admin.Tokens([]string{token}, nil)})
	mux.Handle(admin.Prefix, h)
}

var _, _ = takeBack, mounted
