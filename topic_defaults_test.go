package recall_test

import (
	"errors"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

func TestTopicDefaults(t *testing.T) {
	path, opts := filepath.Join(t.TempDir(), "q.db"), &recall.Options{NoDispatch: true, Logger: quietLogger}
	b, err := recall.Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if _, err := b.SetTopicDefaults(ctx, "orders", http.Header{"A": {"1"}}); !errors.Is(err, recall.ErrNoTopic) {
		t.Errorf("without the topic: %v", err)
	}
	addEndpoints(t, b, "orders", threeEndpoints...)
	given := http.Header{"upstash-retries": {"3"}, "X": {"1", "2"}}
	got, err := b.SetTopicDefaults(ctx, "orders", given)
	want := http.Header{"Upstash-Retries": {"3"}, "X": {"1", "2"}}
	if err != nil || !reflect.DeepEqual(got.Defaults, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	given["X"][0], got.Defaults["X"][1] = "mine", "mine" // nobody shares them
	addEndpoints(t, b, "orders", recall.Endpoint{URL: "local:four"})
	for name, bad := range map[string]http.Header{
		"a name": {"a b": {"1"}}, "a value": {"A": {"\n"}}, "not UTF-8": {"A": {"\xff"}},
		"too large": {"A": {strings.Repeat("x", recall.MaxHeaderBytes)}},
	} {
		if _, err := b.SetTopicDefaults(ctx, "orders", bad); !errors.Is(err, recall.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if b, err = recall.Open(path, opts); err != nil {
		t.Fatal(err)
	}
	defer b.Close(ctx)
	if got, err := b.Topic(ctx, "orders"); err != nil || !reflect.DeepEqual(got.Defaults, want) || len(got.Endpoints) != 4 {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if got, err := b.SetTopicDefaults(ctx, "orders", nil); err != nil || got.Defaults != nil {
		t.Errorf("cleared: %+v, %v", got, err)
	}
}
