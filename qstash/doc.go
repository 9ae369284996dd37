// Package qstash speaks QStash's v2 REST API on a [recall.Broker], so that
// programs and tests written for Upstash's SDKs work against a queue inside
// their own process or machine.
//
//	b, err := recall.Open("queue.db", &recall.Options{OnRequest: qstash.OnRequest})
//	if err != nil {
//		return err
//	}
//	defer b.Close(ctx)
//	return http.ListenAndServe("127.0.0.1:8080", qstash.NewHandler(b, &qstash.Options{Token: token}))
//
// It covers publishing, enqueueing, batches, reading and cancelling messages,
// bulk cancellation in every shape that the SDKs send, and the signing keys.
// What QStash has and Recall does not yet is refused with status 400 and a
// text that names it: a setting that is ignored in silence would be worse. The
// limits of flow control are the exception: they are checked, and the log says
// that nothing enforces them.
//
// Two endpoints of Recall's own stand beside it, under /recall/v1: count and
// explain, which take the same filters as a bulk cancellation. The document
// docs/http.md in the repository describes all of it.
//
// Names, headers and status codes of the wire are known in this package only.
package qstash
