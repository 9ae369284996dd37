package main

import (
	"cmp"
	"fmt"

	"github.com/recallmq/recall/qstash"
)

// printCurl prints requests that work on the demo's file as it is.
func (d *demo) printCurl(url string, found sample) {
	token := cmp.Or(d.token, qstash.DevToken)
	curl := func(what, method, body, path string) {
		d.say("\n  %s\n  curl -sS -X %s -H 'Authorization: Bearer %s' -d '%s' '%s%s'", what, method, token, body, url, path)
	}
	d.say("\nThree lines to paste in another terminal:")
	curl("Publish a message; it is delivered to the demo's receiver, which shows it here:",
		"POST", "hello", "/v2/publish/"+d.receiver.url()+"/hello")
	curl(fmt.Sprintf("Count the messages with the label %q:", found.label),
		"POST", fmt.Sprintf(`{"label":%q}`, found.label), "/recall/v1/count")
	curl(fmt.Sprintf("Take back those of them that are in the queue %q:", found.queue),
		"DELETE", fmt.Sprintf(`{"label":%q,"queueName":%q}`, found.label, found.queue), "/v2/messages")
	d.say("\nStop with Ctrl-C.")
}
