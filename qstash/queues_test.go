package qstash_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// queue is what GET returns as SDKs declare it; a pointer must be there.
type queue struct {
	Name        string
	Parallelism *int
	CreatedAt   *int64
	UpdatedAt   *int64
	Lag         *int
	Paused      *bool
}

func (s *server) queue(name string) queue {
	s.t.Helper()
	w := s.call("GET", "/v2/queues/"+name, "")
	checkStatus(s.t, w, 200)
	q := decode[queue](s.t, w)
	if q.Name != name || q.Parallelism == nil || q.CreatedAt == nil || q.UpdatedAt == nil || q.Lag == nil || q.Paused == nil {
		s.t.Fatalf("queue: got %s", w.Body)
	}
	return q
}

func (s *server) checkQueue(name string, parallelism, lag int, paused bool) {
	s.t.Helper()
	if q := s.queue(name); *q.Parallelism != parallelism || *q.Lag != lag || *q.Paused != paused {
		s.t.Errorf("queue %s: parallelism %d, lag %d, paused %v; want %d, %d, %v", name, *q.Parallelism, *q.Lag, *q.Paused, parallelism, lag, paused)
	}
}

func (s *server) ok(method, target, body string, headers ...string) {
	s.t.Helper()
	checkStatus(s.t, s.call(method, target, body, headers...), 200)
}

func TestQueues(t *testing.T) {
	inBubble(t, "life", func(t *testing.T) {
		s := newServer(t, nil)
		w := s.call("GET", "/v2/queues", "")
		checkStatus(t, w, 200)
		checkBody(t, w, "[]")
		s.ok("POST", "/v2/queues", `{"queueName":"mails","parallelism":3,"paused":false}`)
		time.Sleep(time.Minute)
		s.ok("POST", "/v2/queues/", `{"queueName":"mails","paused":true,"parallelism":null}`) // a part leaves the rest
		w = s.call("GET", "/V2/Queues/mails/", "")
		checkBody(t, w, `{"name":"mails","parallelism":3,"createdAt":946684800000,"updatedAt":946684860000,"lag":0,"paused":true}`)

		// Publishing makes a queue, and resets none.
		s.ok("POST", "/v2/enqueue/mails/https://example.com", "")
		s.ok("POST", "/v2/enqueue/new/https://example.com", "")
		s.checkQueue("mails", 3, 1, true)
		s.checkQueue("new", 1, 1, false)
		for range 2 { // both change nothing the second time
			s.ok("POST", "/v2/queues/mails/resume", "")
			s.checkQueue("mails", 3, 1, false)
		}
		for range 2 {
			s.ok("POST", "/v2/queues/mails/Pause/", "")
			s.checkQueue("mails", 3, 1, true)
		}
		s.claim(1)
		s.checkQueue("new", 1, 1, false) // what is in flight is not done
		list := decode[[]queue](t, s.call("GET", "/v2/queues", ""))
		if len(list) != 2 || list[0].Name != "mails" || list[1].Name != "new" {
			t.Errorf("list: %+v", list)
		}
	})
	t.Run("a queue of a program's", func(t *testing.T) {
		s := newServer(t, nil)
		s.publish("a", recall.Message{Queue: "käse, alt"})
		if got := decode[queue](t, s.call("GET", "/v2/queues/k%C3%A4se,%20alt", "")).Name; got != "käse, alt" {
			t.Errorf("got %q", got)
		}
	})
}

func TestDeleteQueue(t *testing.T) {
	s := newServer(t, nil)
	for _, name := range []string{"a", "b", "c"} {
		s.publish(name, recall.Message{Queue: "q"})
	}
	s.publish("other", recall.Message{Queue: "r"})
	w := s.call("DELETE", "/v2/queues/q", "")
	checkStatus(t, w, 200)
	s.checkGone("a b c")
	type deleted struct {
		Cancelled int
		Operation recall.OperationID
	}
	got := decode[deleted](t, w)
	if got.Cancelled != 3 {
		t.Errorf("got %s", w.Body)
	}
	checkError(t, s.call("GET", "/v2/queues/q", ""), 404, "queue q not found")
	if back, err := s.b.Restore(t.Context(), got.Operation); err != nil || back.Restored != 3 {
		t.Errorf("Restore: %+v, %v", back, err)
	}
	s.checkGone("")

	for _, name := range []string{"never", "q%2Fq"} { // deleted already
		w = s.call("DELETE", "/v2/queues/"+name, "")
		checkStatus(t, w, 200)
		checkBody(t, w, `{"cancelled":0}`)
	}
	s.checkGone("")

	// The attempt that runs is the last, and the queue is gone all the same.
	s.ok("DELETE", "/v2/queues/r", "")
	lease := s.claim(1)[0]
	w = s.call("DELETE", "/v2/queues/q", "")
	checkStatus(t, w, 200)
	if got := decode[deleted](t, w); got.Cancelled != 2 {
		t.Errorf("got %s", w.Body)
	}
	checkError(t, s.call("GET", "/v2/queues/q", ""), 404, "queue q not found")
	s.finish(lease, recall.Finish{Outcome: recall.Retry, Due: time.Now()})
	s.checkGone("a b c other")
}

func TestBadQueues(t *testing.T) {
	for body, want := range map[string]string{
		``: "not a JSON object", `[]`: "not a JSON object", `null`: "not a JSON object", `{`: "not valid JSON",
		`{}`: "name of the queue", `{"queueName":""}`: "name of the queue", `{"queueName":"a b"}`: "name of the queue",
		`{"queueName":"a,b"}`: "name of the queue", `{"queueName":"a/b"}`: "name of the queue", `{"queueName":1}`: "not valid JSON",
		`{"queueName":"` + strings.Repeat("q", 257) + `"}`: "queue: 257 bytes",
		`{"queueName":"q","parallelism":0}`:                "parallelism: 0", `{"queueName":"q","parallelism":-1}`: "parallelism: -1",
		`{"queueName":"q","parallelism":1.5}`: "not valid JSON", `{"queueName":"q","parallelism":"2"}`: "not valid JSON",
		`{"queueName":"q","paused":"yes"}`: "not valid JSON", `{"queueName":"q","parallelsm":2}`: "parallelsm",
		`{"queueName":"q"} x`: "something follows", `{"queueName":"q"}{}`: "something follows", "{\"queueName\":\"\xff\"}": "UTF-8",
	} {
		s := newServer(t, nil)
		checkError(t, s.call("POST", "/v2/queues", body), 400, want)
		checkBody(t, s.call("GET", "/v2/queues", ""), "[]")
	}
	s := newServer(t, nil)
	checkError(t, s.call("POST", "/v2/queues", fmt.Sprintf(`{"queueName":"q","parallelism":%d}`, recall.MaxParallelism+1)), 412, "limit of 1000")
	checkError(t, s.call("POST", "/v2/queues", `{"queueName":"`+strings.Repeat("q", 1<<20)+`"}`), 413, "larger than")
	for _, target := range []string{"/v2/queues/q/pause", "/v2/queues/q/resume", "/v2/queues/q/stop", "/v2/queues/pause", "/v2/queues/q/r/pause"} {
		checkError(t, s.call("POST", target, ""), 404, "")
	}
	checkError(t, s.call("PUT", "/v2/queues", ""), 405, "")
	checkError(t, s.call("PATCH", "/v2/queues/q", ""), 405, "")
}

// TestQueueName has the queue of a message named by a header.
func TestQueueName(t *testing.T) {
	s := newServer(t, nil)
	s.ok("POST", "/v2/publish/https://example.com", "", "Upstash-Queue-Name", "q")
	if got := s.only().Queue; got != "q" {
		t.Errorf("got %q", got)
	}
	s.ok("POST", "/v2/enqueue/q/https://example.com", "", "Upstash-Queue-Name", "q")
	checkError(t, s.call("POST", "/v2/enqueue/q/https://example.com", "", "Upstash-Queue-Name", "r"), 400, "another queue")
	checkError(t, s.call("POST", "/v2/batch", `[{"destination":"https://example.com","queue":"q","headers":{"upstash-queue-name":"r"}}]`), 400, "item 0: ")
	s.ok("POST", "/v2/batch", `[{"destination":"https://example.com","headers":{"upstash-queue-name":"r"}}]`)
	s.checkQueue("q", 1, 2, false)
	s.checkQueue("r", 1, 1, false)
}
