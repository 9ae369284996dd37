package metrics_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/metrics"
)

// A program serves the metrics of its broker beside its own.
func Example() {
	dir, err := os.MkdirTemp("", "metrics")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := recall.Open(filepath.Join(dir, "queue.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close(context.Background())

	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(b, nil))
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()

	if _, err := b.Publish(context.Background(), recall.Message{Queue: "mail", Body: []byte("hello")}); err != nil {
		log.Fatal(err)
	}
	resp, err := http.Get(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "recall_queue_messages_waiting") || strings.HasPrefix(line, "recall_messages_published_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// recall_messages_published_total 1
	// recall_queue_messages_waiting{queue="mail"} 1
}
