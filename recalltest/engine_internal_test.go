package recalltest

import (
	"context"
	"net/http"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// TestSpyIsComplete: what an engine can do, the one that is watched can do too. A
// new optional interface of engines has to be added to complete.
func TestSpyIsComplete(t *testing.T) {
	engine, err := recall.OpenEngine(filepath.Join(t.TempDir(), "q.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	all := reflect.TypeOf(engine)
	spied := reflect.TypeOf(watched(engine, newWatch(collect(nil))))
	if all.NumMethod() == 0 {
		t.Fatal("the engine has no methods")
	}
	for i := range all.NumMethod() {
		if name := all.Method(i).Name; !hasMethod(spied, name) {
			t.Errorf("the spy has no method %s", name)
		}
	}
	if _, err := engine.Count(context.Background(), recall.Filter{}, wallNow()); err != nil {
		t.Error(err)
	}
}

func hasMethod(of reflect.Type, name string) bool {
	_, ok := of.MethodByName(name)
	return ok
}

// TestHandlerWaitsForItsTimeout: the clock does not wait for ever for a handler that
// waits for the clock.
func TestHandlerWaitsForItsTimeout(t *testing.T) {
	defer func(was time.Duration) { realPatience = was }(realPatience)
	realPatience = time.Millisecond
	const hook = "https://api.test/hook"
	s := New(t)
	s.Endpoint(hook).Handle(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	if _, err := s.Broker().Publish(t.Context(), recall.Message{URL: hook, Timeout: 5 * time.Second, Retries: recall.Retries(1)}); err != nil {
		t.Fatal(err)
	}
	began := s.Now()
	s.Drain()
	if d := s.Now().Sub(began); len(s.Deliveries()) != 2 || d < 10*time.Second || d > time.Minute {
		t.Errorf("%d attempts, %v have passed", len(s.Deliveries()), d)
	}
}
