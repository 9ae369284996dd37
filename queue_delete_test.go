package recall_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
)

// TestRestoreBringsQueueBack: messages are restored to a queue that can be seen,
// paused and set, also after the next open.
func TestRestoreBringsQueueBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openFile(t, nil)
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(f.SetQueue(t.Context(), "q", 3))
		for range 4 {
			publish(t, f.Broker, recall.Message{URL: "local:later", Queue: "q"})
		}
		res, err := f.CancelQueue(t.Context(), "q")
		check(err)
		sleep(time.Second)
		_, err = f.Restore(t.Context(), res.Operation)
		check(err)
		wantQueue := func(when string, paused bool) {
			t.Helper()
			q, err := f.Queue(t.Context(), "q")
			if err != nil || q.Lag != 4 || q.Parallelism != 1 || q.Paused != paused || q.CreatedAt.IsZero() {
				t.Errorf("%s: got %+v, %v", when, q, err)
			}
		}
		wantQueue("restored", false)
		check(f.PauseQueue(t.Context(), "q"))
		check(f.Close(t.Context()))
		f.open(t)
		wantQueue("opened again", true)
	})
}

// TestRestoreBringsOwnQueueBack: of two queues that were deleted the one comes back
// whose messages do, among few queues and among many.
func TestRestoreBringsOwnQueueBack(t *testing.T) {
	for _, others := range []int{0, 300} {
		t.Run(fmt.Sprint(others), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := openFile(t, nil)
				for i := range others {
					publish(t, f.Broker, recall.Message{URL: "local:later", Queue: fmt.Sprint("other-", i)})
				}
				ops := map[string]recall.OperationID{}
				for _, name := range []string{"a", "b"} {
					publish(t, f.Broker, recall.Message{URL: "local:later", Queue: name})
					res, err := f.CancelQueue(t.Context(), name)
					if err != nil {
						t.Fatal(err)
					}
					ops[name] = res.Operation
				}
				for _, name := range []string{"b", "a"} {
					if q, err := f.Queue(t.Context(), name); !errors.Is(err, recall.ErrNotFound) {
						t.Errorf("queue %q before its undo: %+v, %v", name, q, err)
					}
					if _, err := f.Restore(t.Context(), ops[name]); err != nil {
						t.Fatal(err)
					}
					if q, err := f.Queue(t.Context(), name); err != nil || q.Lag != 1 {
						t.Errorf("queue %q after its undo: %+v, %v", name, q, err)
					}
				}
			})
		})
	}
}

// TestDeleteQueueMeanwhile: a queue is deleted before a message is published to it,
// which makes it anew, or not at all. The transaction keeps both for one commit.
func TestDeleteQueueMeanwhile(t *testing.T) {
	for _, first := range []string{"publish", "delete"} {
		t.Run(first, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := openFile(t, nil)
				if err := f.SetQueue(t.Context(), "q", 7); err != nil {
					t.Fatal(err)
				}
				var deleted error
				calls := []func(){
					func() { publish(t, f.Broker, recall.Message{URL: "local:later", Queue: "q"}) },
					func() { deleted = f.DeleteQueue(t.Context(), "q") },
				}
				if first == "delete" {
					calls[0], calls[1] = calls[1], calls[0]
				}
				err := f.Update(t.Context(), func(*recall.Tx) error {
					for _, call := range calls {
						go call()
						time.Sleep(time.Second)
					}
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				q, err := f.Queue(t.Context(), "q")
				if err != nil || q.Lag != 1 {
					t.Fatalf("Queue: got %+v, %v", q, err)
				}
				if first == "publish" && (!errors.Is(deleted, recall.ErrQueueNotEmpty) || q.Parallelism != 7) {
					t.Errorf("DeleteQueue: %v, and the queue is %+v", deleted, q)
				}
				if first == "delete" && (deleted != nil || q.Parallelism != 1) {
					t.Errorf("DeleteQueue: %v, and the queue is %+v", deleted, q)
				}
			})
		})
	}
}
