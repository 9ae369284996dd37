package recalltest

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

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
