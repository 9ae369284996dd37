package recalltest_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/recallmq/recall/qstash"
	"github.com/recallmq/recall/recalltest"
)

// TestSigned: endpoints can verify deliveries, by the time of the server.
func TestSigned(t *testing.T) {
	inBoth(t, func(t *testing.T, s *recalltest.Server, _ *http.Client) {
		v, err := qstash.NewVerifier(qstash.DevCurrentSigningKey, qstash.DevNextSigningKey, &qstash.VerifierOptions{Clock: s.Clock()})
		if err != nil {
			t.Fatal(err)
		}
		s.Endpoint(hook).Handle(v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
		publish(t, s, hook, "signed", "Upstash-Delay", "30d", "Upstash-Retries", "0")
		s.Advance(30 * 24 * time.Hour)
		s.CheckDelivered(t, recalltest.Message{Body: "signed"})
	})
}
