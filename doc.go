// Package recall is an embedded, durable message queue that lets you take
// messages back.
//
// A program links it in and publishes messages; Recall delivers them over HTTP
// or to handlers of the process, with retries and a dead letter queue. Until a
// message is in flight it can be recalled: one by its id, or a million by a
// filter, in one durable commit. There is no server to run: one file, held by
// one process.
//
//	b, err := recall.Open(path, nil)
//	if err != nil {
//		return err
//	}
//	defer b.Close(ctx)
//	_, err = b.Publish(ctx, recall.Message{
//		URL:    "https://example.com/welcome",
//		Body:   []byte(`{"user":7}`),
//		Labels: []string{"campaign-12"},
//		Delay:  24 * time.Hour,
//	})
//	if err != nil {
//		return err
//	}
//	result, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{"campaign-12"}})
//	if err != nil {
//		return err
//	}
//	fmt.Println("took back:", result.Cancelled)
//
// # Life of a message
//
// A message is pending, in flight, or gone. Pending means that it waits: for
// its due time, for a free slot, for its handler, or for its next attempt. In
// flight means that an attempt is being made. It is gone when it was delivered,
// cancelled, or moved to the dead letter queue. A failed attempt makes it
// pending again, until [Message].Retries is used up.
//
// Delivery is at least once: a crash between an attempt and the record of it
// repeats the attempt. The id of a message, [Delivery].ID or the header
// Recall-Message-Id, is the same in every attempt.
//
// # Delivering
//
// A message goes to an http or https URL, or to a handler that
// [Broker.Handle] registered for "local:" and a name. A status of 200 to 299,
// or nil from a handler, is success. Redirects are not followed. After anything
// else the next attempt is due after Message.RetryDelay or [Options].Backoff; an
// endpoint may name another time with Retry-After, and a handler with
// [RetryAfter]. Status 489
// with the header Upstash-NonRetryable-Error: true, or an error wrapped by
// [Permanent], ends the attempts at once. What has failed for good waits in the
// dead letter queue: [Broker.DeadLetters].
//
// A message with a Queue and without a URL is for consumers, who fetch it with
// [Broker.Receive] and end the lease that they get: [Received].
//
// # Order, limits, repetition
//
// Messages with a Queue go out one after the other, see [Broker.SetQueue]; those
// with a FlowKey within the limit of the key, see [Broker.PinFlow]; among what is
// due, those of a higher Priority first. [Broker.PublishTopic] publishes to all
// endpoints of a topic, [Broker.SetSchedule] publishes by a line of cron, and a
// DeduplicationID makes the second of two messages a duplicate. A [Callback] is
// told how an attempt has ended. [Broker.Events] is the log of all that.
//
// # Taking back
//
// [Broker.Cancel] takes back one message, [Broker.CancelMatching] all that
// match a [Filter], [Broker.CancelAll] everything. A bulk call walks the
// narrowest index, oldest message first, and stops at the first match that is
// in flight, which the [NotCancellableError] names; what was cancelled before
// it stays cancelled. A [Policy] changes that: [Wait] for such attempts, [Skip]
// them, or make them the last with [Sticky] and [Abort].
//
// [Broker.Count] and [Broker.Explain] tell beforehand what a filter would meet.
// [ExpectExactly] and [ExpectAtMost] refuse a call that finds another number,
// [Limit] takes the oldest, [DryRun] only looks.
//
// # Undo and records
//
// [Broker.Restore] undoes a bulk cancellation, whole, for [Options].UndoWindow
// and as far as [Options].UndoBytes goes. [Broker.Cancellations] lists what was
// done, by which filter and with which [Reason]; [Broker.WhoCancelled] says
// which operation took a message.
//
// # Other changes by filter
//
// [Broker.CancelFuture] cancels what arrives from now on, until it expires or
// [Broker.LiftCancellation] ends it. [Broker.Hold] and [Broker.Release] pause
// what waits, [Broker.Reschedule] moves it, and [Broker.RetryNow] makes retries
// due at once, by the same filters, options and records as a cancellation.
// [Broker.DeleteDeadMatching] and [Broker.RetryDeadMatching] are for the dead
// letter queue, with [Limit], [ExpectAtMost] and [ExpectExactly].
//
// # Transactions
//
// [Broker.Update] makes several changes one: publish and cancel together, to
// replace messages, and keep the program's own data in the same file, in a
// [Bucket] of the [Tx]. [Broker.Lookup] reads such data outside.
//
// # Durability
//
// Calls that change something return when the change is on stable storage, and
// concurrent calls share the cost: publish from many goroutines, or in batches.
// See [Durability] for tests that do not need it. A file that is damaged, or
// that a newer Recall wrote, is refused by [Open] and left as it is.
//
// # Limits
//
// Indexes are in memory: about 105 bytes for a waiting message, 270 if every
// URL is different. What can still be undone keeps its entry, and 8 bytes more.
// One process holds a file; package qstash serves others over HTTP.
package recall
