package dashboard_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dashboard"
)

// mount serves the dashboard of a broker below /queue/.
func mount(mux *http.ServeMux, b *recall.Broker) {
	board := dashboard.Handler(b, &dashboard.Options{
		Tokens:         []string{os.Getenv("DASHBOARD_TOKEN")},
		ReadOnlyTokens: []string{os.Getenv("DASHBOARD_READ_TOKEN")},
	})
	mux.Handle("/queue/", http.StripPrefix("/queue", board))
}

func ExampleHandler() {
	dir, err := os.MkdirTemp("", "recall-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	b, err := recall.Open(filepath.Join(dir, "q.db"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close(context.Background())

	mux := http.NewServeMux()
	mount(mux, b)

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/queue/messages", nil))
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output: 303 ./login?next=messages
}
