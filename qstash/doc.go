// Package qstash speaks QStash's v2 REST API on a [recall.Broker], so that
// programs and tests written for Upstash's SDKs work against a queue inside
// their own process or machine.
//
//	keys := qstash.NewKeys(currentKey, nextKey)
//	b, err := recall.Open("queue.db", &recall.Options{OnRequest: keys.OnRequest})
//	if err != nil {
//		return err
//	}
//	defer b.Close(ctx)
//	return http.ListenAndServe("127.0.0.1:8080", qstash.NewHandler(b, &qstash.Options{Token: token, Keys: keys}))
//
// It covers publishing, enqueueing, batches, reading and cancelling messages,
// bulk cancellation in every shape that the SDKs send, bulk actions, queues, URL
// groups, schedules, flow control, the dead letter queue, the log, and the signing
// keys. Deliveries are signed by [Keys]; [Verifier] checks that in one's own
// endpoints. [NewUsers] serves several users at one address. What QStash has and
// Recall does not is refused with a text that names it: a setting that is ignored
// in silence would be worse.
//
// Recall's own endpoints stand beside it, under /recall/v1, for the same token:
// count and explain; cancel, with every policy and guard that
// [recall.Broker.CancelMatching] has; restore, and the records of what was
// cancelled; standing cancellations; hold, release, reschedule and retry-now.
// They take the filters of a bulk cancellation, and newer fields. The document
// docs/http.md in the repository describes all of it.
//
// Names, headers and status codes of the wire are known in this package only.
package qstash
