package recall_test

import (
	"errors"
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
