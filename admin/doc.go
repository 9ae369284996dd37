// Package admin serves Recall's own operations as JSON over HTTP, and calls them:
// what the command line needs, and QStash's API has no words for. Everything that a
// [recall.Filter] says can be asked for, and errors come back as what they were.
//
//	h := admin.NewHandler(b, &admin.Options{Access: admin.Tokens([]string{token}, nil)})
//	mux.Handle(admin.Prefix, h)
//
// serves one broker under [Prefix]; "recall serve" and "recall dev" do so beside
// QStash's API, for the same tokens.
//
//	c, err := admin.New("https://queue.example.com", os.Getenv("QSTASH_TOKEN"), nil)
//	if err != nil {
//		return err
//	}
//	result, err := c.CancelMatching(ctx, recall.Filter{Labels: []string{"campaign-12"}}, admin.Bulk{Reason: "wrong price"})
//
// is a client. Its methods are those of a [recall.Broker], with the same results and
// errors: errors.Is finds [recall.ErrNotFound], errors.As a
// *[recall.NotCancellableError] with its blocker. [Local] is a client of a broker in
// this process, by the same code.
//
// # On the wire
//
// Every call is a POST to [Prefix] and its name, with a JSON object as the body, or
// none. Members that are unknown or given twice are refused. Filters have the JSON
// form of [recall.Filter], times that of RFC 3339; durations are whole numbers of
// nanoseconds, as encoding/json writes them; bodies of messages are base64.
//
// An answer is a JSON object, or for lists a line of JSON for each item,
// {"item":…}, and a last line {"end":{…}} or {"error":{…}}: a list without one of
// these is not whole. An error has a text, a code, and what belongs to it.
//
// docs/admin.md lists the calls and the codes.
package admin
