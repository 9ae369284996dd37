package egress_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/netip"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/egress"
)

// A queue that strangers publish to: public addresses, and one range of one's
// own.
func Example() {
	open := func() (*recall.Broker, error) {
		t, err := egress.NewTransport(&egress.Options{Policy: &egress.Policy{
			Allow: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
		}})
		if err != nil {
			return nil, err
		}
		return recall.Open("queue.db", &recall.Options{Transport: t})
	}
	_ = open

	t, err := egress.NewTransport(&egress.Options{Policy: &egress.Policy{}})
	if err != nil {
		log.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:8080/admin", nil)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := t.RoundTrip(req)
	if err == nil {
		_ = resp.Body.Close()
	}
	var refused *egress.RefusedError
	fmt.Println(errors.As(err, &refused), refused.Addr)
	// Output: true 127.0.0.1
}

// Deliveries for a host go to a program on this machine, and are what they
// would be in earnest.
func ExampleRoute() {
	open := func() (*recall.Broker, error) {
		t, err := egress.NewTransport(&egress.Options{Routes: []egress.Route{
			{From: "https://api.example.com", To: "http://127.0.0.1:3000"},
		}})
		if err != nil {
			return nil, err
		}
		return recall.Open("queue.db", &recall.Options{Transport: t})
	}
	_ = open
}
