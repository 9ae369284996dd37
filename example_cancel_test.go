package recall_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall"
)

// threeExamples publishes three messages with the label "x". The second is in flight
// when it returns, until its attempt is ended with the error that finish is
// given, or its context is cancelled.
func threeExamples(b *recall.Broker) (second recall.MessageID, finish func(error)) {
	started, end := make(chan bool), make(chan error, 1)
	err := b.Handle("local:slow", func(ctx context.Context, _ *recall.Delivery) error {
		started <- true
		select {
		case err := <-end:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	receipts, err := b.PublishBatch(context.Background(), []recall.Message{
		{URL: "https://api.example.com/1", Labels: []string{"x"}, Delay: time.Hour},
		{URL: "local:slow", Labels: []string{"x"}},
		{URL: "https://api.example.com/3", Labels: []string{"x"}, Delay: time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
	<-started
	return receipts[1].ID, func(err error) { end <- err }
}

// untilExampleGone waits until a message has been delivered, or has ended otherwise.
func untilExampleGone(b *recall.Broker, id recall.MessageID) {
	for {
		if _, err := b.Get(context.Background(), id); errors.Is(err, recall.ErrNotFound) {
			return
		}
		runtime.Gosched()
	}
}

// exampleLabels is the filter of the examples.
func exampleLabels(labels ...string) recall.Filter { return recall.Filter{Labels: labels} }

// publishExamples publishes messages that are due in an hour.
func publishExamples(b *recall.Broker, n int, m recall.Message) (ids []recall.MessageID) {
	m.Delay = time.Hour
	receipts, err := b.PublishBatch(context.Background(), slices.Repeat([]recall.Message{m}, n))
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range receipts {
		ids = append(ids, r.ID)
	}
	return ids
}

// The default policy ends the call at the first message in flight. Calling
// again, when it is over, takes the rest.
func ExampleStop() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	second, finish := threeExamples(b)

	result, err := b.CancelMatching(ctx, exampleLabels("x"))
	fmt.Println("cancelled", result.Cancelled, errors.Is(err, recall.ErrNotCancellable))

	finish(nil)
	untilExampleGone(b, second)
	result, err = b.CancelMatching(ctx, exampleLabels("x"))
	fmt.Println("cancelled", result.Cancelled, err)
	// Output:
	// cancelled 1 true
	// cancelled 1 <nil>
}

// A call can wait for attempts that are in its way. One that fails meanwhile is
// cancelled instead of being tried again.
func ExampleWait() {
	b, shut := openExample(nil)
	defer shut()
	_, finish := threeExamples(b)

	time.AfterFunc(10*time.Millisecond, func() { finish(errors.New("the endpoint is down")) })
	result, err := b.CancelMatching(context.Background(), exampleLabels("x"), recall.Wait(time.Minute))
	fmt.Println("cancelled", result.Cancelled, err)
	// Output: cancelled 3 <nil>
}

// Skip takes what it can and names the rest.
func ExampleSkip() {
	b, shut := openExample(nil)
	defer shut()
	second, finish := threeExamples(b)

	result, err := b.CancelMatching(context.Background(), exampleLabels("x"), recall.Skip)
	fmt.Println("cancelled", result.Cancelled, err)
	fmt.Println("skipped the second:", len(result.Skipped) == 1 && result.Skipped[0] == second)
	finish(nil)
	// Output:
	// cancelled 2 <nil>
	// skipped the second: true
}

// With Sticky the running attempt is the last. It fails here, and no other
// follows.
func ExampleSticky() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	second, finish := threeExamples(b)

	result, err := b.CancelMatching(ctx, exampleLabels("x"), recall.Sticky)
	fmt.Println("cancelled", result.Cancelled, "requested", result.Requested, err)

	finish(errors.New("the endpoint is down"))
	untilExampleGone(b, second)
	n, err := b.Count(ctx, recall.Filter{})
	fmt.Println(n.Pending, "wait", n.InFlight, "in flight", err)
	// Output:
	// cancelled 2 requested 1 <nil>
	// 0 wait 0 in flight <nil>
}

// Abort also ends the running attempt: the handler's context is cancelled, and
// an HTTP request would be torn down.
func ExampleAbort() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	second, _ := threeExamples(b)

	fmt.Println(b.Cancel(ctx, second, recall.Abort))
	untilExampleGone(b, second)
	n, err := b.Count(ctx, recall.Filter{})
	fmt.Println(n.Pending, "wait", n.InFlight, "in flight", err)
	// Output:
	// <nil>
	// 2 wait 0 in flight <nil>
}

// A call that finds more than its caller expects changes nothing, and says how
// many there are.
func ExampleUnexpectedCountError() {
	b, shut := openExample(nil)
	defer shut()
	publishExamples(b, 500, recall.Message{URL: "https://api.example.com/", Labels: []string{"order-1"}})

	_, err := b.CancelMatching(context.Background(), exampleLabels("order-1"), recall.ExpectAtMost(10))
	var unexpected *recall.UnexpectedCountError
	if errors.As(err, &unexpected) {
		fmt.Println("found", unexpected.Found)
	}
	fmt.Println(err)
	// Output:
	// found 500
	// recall: found 500 matches, expected at most 10; nothing was changed
}

// Look, then take exactly what was seen or nothing.
func ExampleExpectExactly() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	publishExamples(b, 3, recall.Message{URL: "https://api.example.com/", Queue: "mails"})
	mails := recall.Filter{Queues: []string{"mails"}}

	n, err := b.Count(ctx, mails)
	if err != nil {
		log.Fatal(err)
	}
	result, err := b.CancelMatching(ctx, mails, recall.ExpectExactly(n.Pending), recall.Reason("the list was stale"))
	fmt.Println("cancelled", result.Cancelled, err)
	// Output: cancelled 3 <nil>
}

// A dry run says what would happen.
func ExampleDryRun() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	_, finish := threeExamples(b)

	result, err := b.CancelMatching(ctx, exampleLabels("x"), recall.Sticky, recall.DryRun())
	fmt.Println("would cancel", result.Cancelled, "and request", result.Requested, err)
	n, err := b.Count(ctx, exampleLabels("x"))
	fmt.Println(n.Pending, "wait", n.InFlight, "in flight", err)
	finish(nil)
	// Output:
	// would cancel 2 and request 1 <nil>
	// 2 wait 1 in flight <nil>
}

// A plan shows every index that could be walked, and which one would be.
func ExampleBroker_Explain() {
	b, shut := openExample(nil)
	defer shut()
	publishExamples(b, 900, recall.Message{URL: "https://api.example.com/", Queue: "mails"})
	publishExamples(b, 90, recall.Message{URL: "https://api.example.com/", Queue: "mails", Labels: []string{"order-1"}})
	publishExamples(b, 9, recall.Message{URL: "https://api.example.com/", Queue: "texts", Labels: []string{"order-1"}})

	plan, err := b.Explain(context.Background(), recall.Filter{
		Queues: []string{"mails"}, Labels: []string{"order-1"}, States: []recall.State{recall.StateDelayed},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)
	// Output:
	// queue=mails label=order-1 state=delayed
	// > label     99
	//   queue    990
	//   time     999
	// 99 entries to scan
}

// A cancellation can be undone for a while.
func ExampleBroker_Restore() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	id := publishExamples(b, 1000, recall.Message{URL: "https://api.example.com/", Labels: []string{"campaign-12"}})[0]

	result, err := b.CancelMatching(ctx, exampleLabels("campaign-12"))
	if err != nil {
		log.Fatal(err)
	}
	_, err = b.Get(ctx, id)
	fmt.Println("cancelled", result.Cancelled, err)

	back, err := b.Restore(ctx, result.Operation)
	fmt.Println("restored", back.Restored, err)
	m, err := b.Get(ctx, id)
	fmt.Println(m.State, err)
	// Output:
	// cancelled 1000 recall: message not found
	// restored 1000 <nil>
	// delayed <nil>
}

// Bulk operations leave records: what was done, by which filter, and why.
func ExampleBroker_Cancellations() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	publishExamples(b, 20, recall.Message{URL: "https://api.example.com/", Queue: "mails", Labels: []string{"order-1"}})
	publishExamples(b, 5, recall.Message{URL: "https://api.example.com/", Labels: []string{"order-2"}})

	for _, label := range []string{"order-1", "order-2"} {
		if _, err := b.CancelMatching(ctx, exampleLabels(label), recall.Reason(label+" was called off")); err != nil {
			log.Fatal(err)
		}
	}
	for op, err := range b.Cancellations(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s: %d, by the index on %s: %s\n", op.Kind, op.Filter, op.Count, op.Index, op.Reason)
	}
	// Output:
	// cancel label=order-1: 20, by the index on label: order-1 was called off
	// cancel label=order-2: 5, by the index on label: order-2 was called off
}

// Where has my message gone?
func ExampleBroker_WhoCancelled() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	id := publishExamples(b, 20, recall.Message{URL: "https://api.example.com/", Labels: []string{"order-1"}})[7]

	if _, err := b.CancelMatching(ctx, exampleLabels("order-1"), recall.Reason("called off")); err != nil {
		log.Fatal(err)
	}
	op, err := b.WhoCancelled(ctx, id)
	fmt.Println(op.Filter, "because", op.Reason, err)
	fmt.Println("it took", op.Count, "and can be undone:", op.Undoable)
	// Output:
	// label=order-1 because called off <nil>
	// it took 20 and can be undone: true
}

// A standing cancellation takes what arrives later, until it is lifted or
// expires.
func ExampleBroker_CancelFuture() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	publishExamples(b, 20, recall.Message{URL: "https://api.example.com/", Labels: []string{"deploy-42"}})

	// First what is to come, then what is there: nothing slips through.
	op, err := b.CancelFuture(ctx, exampleLabels("deploy-42"), time.Now().Add(time.Hour))
	if err != nil {
		log.Fatal(err)
	}
	result, err := b.CancelMatching(ctx, exampleLabels("deploy-42"))
	fmt.Println("cancelled", result.Cancelled, err)

	r, err := b.Publish(ctx, recall.Message{URL: "https://api.example.com/", Labels: []string{"deploy-42"}})
	fmt.Println("cancelled on arrival:", r.CancelledBy == op, err)

	fmt.Println(b.LiftCancellation(ctx, op))
	r, err = b.Publish(ctx, recall.Message{URL: "https://api.example.com/", Labels: []string{"deploy-42"}})
	fmt.Println("cancelled on arrival:", r.CancelledBy != "", err)
	// Output:
	// cancelled 20 <nil>
	// cancelled on arrival: true <nil>
	// <nil>
	// cancelled on arrival: false <nil>
}

// Held messages wait until they are released. They can be counted and cancelled
// meanwhile.
func ExampleBroker_Hold() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	publishExamples(b, 20, recall.Message{URL: "https://api.example.com/", Labels: []string{"order-1"}})
	host := recall.Filter{Hosts: []string{"api.example.com"}}

	result, err := b.Hold(ctx, host, recall.Reason("their maintenance"))
	fmt.Println("held", result.Changed, err)
	n, err := b.Count(ctx, recall.Filter{States: []recall.State{recall.StateHeld}})
	fmt.Println(n.Pending, "are", recall.StateHeld, err)

	result, err = b.Release(ctx, host)
	fmt.Println("released", result.Changed, err)
	// Output:
	// held 20 <nil>
	// 20 are held <nil>
	// released 20 <nil>
}

// The next attempts of many messages can be moved.
func ExampleBroker_Reschedule() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	id := publishExamples(b, 20, recall.Message{URL: "https://api.example.com/", Labels: []string{"digest"}})[0]

	due := time.Now().Add(24 * time.Hour)
	result, err := b.Reschedule(ctx, exampleLabels("digest"), due)
	fmt.Println("moved", result.Changed, err)
	m, err := b.Get(ctx, id)
	fmt.Println(m.DueAt.UnixMilli() == due.UnixMilli(), err)
	// Output:
	// moved 20 <nil>
	// true <nil>
}

// What waits for a retry can be tried at once, when the cause is gone.
func ExampleBroker_RetryNow() {
	b, shut := openExample(&recall.Options{Backoff: func(int) time.Duration { return time.Hour }})
	defer shut()
	ctx := context.Background()

	attempts := make(chan int)
	err := b.Handle("local:mails", func(_ context.Context, d *recall.Delivery) error {
		attempts <- d.Attempt
		if d.Attempt == 1 {
			return errors.New("the mail server is down")
		}
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(ctx, recall.Message{URL: "local:mails"}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("attempt", <-attempts)
	failed := recall.Filter{URLs: []string{"local:mails"}, States: []recall.State{recall.StateRetrying}}
	for changed := 0; changed == 0; { // until the failure has been noted
		result, err := b.RetryNow(ctx, failed)
		if err != nil {
			log.Fatal(err)
		}
		changed = result.Changed
	}
	fmt.Println("attempt", <-attempts)
	// Output:
	// attempt 1
	// attempt 2
}

// Replace messages: the old ones go and the new ones come in one commit, or
// nothing changes.
func ExampleBroker_Update() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()
	publishExamples(b, 3, recall.Message{URL: "https://api.example.com/remind", Labels: []string{"order-1"}})

	err := b.Update(ctx, func(tx *recall.Tx) error {
		result, err := tx.CancelMatching(exampleLabels("order-1"))
		if err != nil {
			return err
		}
		fmt.Println("replaced", result.Cancelled)
		_, err = tx.Publish(recall.Message{
			URL: "https://api.example.com/remind", Labels: []string{"order-1"}, Delay: 48 * time.Hour,
		})
		return err
	})
	n, _ := b.Count(ctx, exampleLabels("order-1"))
	fmt.Println(n.Pending, "wait", err)

	failed := errors.New("the order is gone")
	err = b.Update(ctx, func(tx *recall.Tx) error {
		if _, err := tx.CancelMatching(exampleLabels("order-1")); err != nil {
			return err
		}
		return failed
	})
	n, _ = b.Count(ctx, exampleLabels("order-1"))
	fmt.Println(n.Pending, "wait:", err)
	// Output:
	// replaced 3
	// 1 wait <nil>
	// 1 wait: the order is gone
}

// A program can keep its own data in the file. A change of it and the message
// about the change are one commit: an outbox without a second database.
func ExampleTx_Bucket() {
	b, shut := openExample(nil)
	defer shut()
	ctx := context.Background()

	err := b.Update(ctx, func(tx *recall.Tx) error {
		orders, err := tx.Bucket("orders")
		if err != nil {
			return err
		}
		if err := orders.Put([]byte("order-1"), []byte("paid")); err != nil {
			return err
		}
		_, err = tx.Publish(recall.Message{URL: "https://api.example.com/receipt", Body: []byte("order-1"), Delay: time.Hour})
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
	state, err := b.Lookup(ctx, "orders", []byte("order-1"))
	fmt.Printf("order-1 is %s %v\n", state, err)
	n, err := b.Count(ctx, recall.Filter{})
	fmt.Println(n.Pending, "waits", err)
	// Output:
	// order-1 is paid <nil>
	// 1 waits <nil>
}

// Dead letters can be deleted, or published again, by filter.
func ExampleBroker_RetryDeadMatching() {
	b, shut := openExample(&recall.Options{Retries: recall.Retries(0)})
	defer shut()
	ctx := context.Background()

	var repaired atomic.Bool
	sent := make(chan string)
	err := b.Handle("local:mails", func(_ context.Context, d *recall.Delivery) error {
		if !repaired.Swap(true) {
			return errors.New("the mail server is down")
		}
		sent <- string(d.Body)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Publish(ctx, recall.Message{URL: "local:mails", Body: []byte("hello"), Labels: []string{"order-1"}}); err != nil {
		log.Fatal(err)
	}
	fmt.Println("dead:", firstDead(b).Reason)

	n, err := b.RetryDeadMatching(ctx, exampleLabels("order-1"))
	fmt.Println("published again:", n, err)
	fmt.Println(<-sent)
	// Output:
	// dead: the mail server is down
	// published again: 1 <nil>
	// hello
}

// As JSON, a list that is empty is not the same as none: it matches nothing.
func ExampleFilter_UnmarshalJSON() {
	var f recall.Filter
	err := json.Unmarshal([]byte(`{"queues":["mails"],"labels":[],"callerIPs":["10.0.0.0/8"]}`), &f)
	fmt.Println(f, err)
	text, err := json.Marshal(f)
	fmt.Println(string(text), err)

	err = json.Unmarshal([]byte(`{"label":["order-1"]}`), &f)
	fmt.Println(errors.Is(err, recall.ErrInvalid), err)
	// Output:
	// queue=mails ip=10.0.0.0/8 label= <nil>
	// {"queues":["mails"],"callerIPs":["10.0.0.0/8"],"labels":[]} <nil>
	// true recall: invalid Filter: "label" is unknown, or given twice
}
