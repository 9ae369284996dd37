package sdk_test

import "testing"

// What Go's SDK decodes answers to. A field of another type fails the call; one
// that is missing is only zero, so what a program must have is not optional.
var (
	goOne   = object{"messageId": text, "deduplicated?": truth, "url?": text}
	goGroup = all{object{"messageId": text, "url": text, "deduplicated?": truth}}

	goMessage = object{
		"messageId": text, "url": text, "method": text, "header": headers, "maxRetries": whole, "notBefore": whole,
		"createdAt": whole, "endpointName?": text, "urlGroup?": text, "body?": text, "bodyBase64?": text, "callback?": text,
		"failureCallback?": text, "scheduleId?": text, "callerIP?": text, "queueName?": text, "api?": text,
	}
	goDead = with(goMessage, object{
		"dlqId": text, "responseStatus": 404, "responseHeader?": headers, "responseBody?": text, "responseBodyBase64?": text,
	})
	goQueue = object{
		"name": "go-queue", "parallelism": 2, "createdAt": whole, "updatedAt": whole, "lag": whole, "paused": truth,
	}
	goSchedule = object{
		"scheduleId": text, "createdAt": whole, "cron": "0 0 1 1 *", "destination": "https://example.com/ok", "key?": text,
		"method": text, "header?": headers, "body?": text, "bodyBase64?": text, "retries": whole, "delay?": whole, "callback?": text,
		"failureCallback?": text, "lastScheduleTime?": whole, "nextScheduleTime?": whole, "lastScheduleStates?": object{},
		"callerIP?": text, "isPaused?": truth,
	}
	goGroupObject = object{
		"name": "go-group", "createdAt": whole, "updatedAt": whole, "endpoints": all{object{"url": text, "name?": text}},
	}
	goEvent = object{
		"time": whole, "messageId": text, "state": text, "url": text, "error?": text, "nextDeliveryTime?": whole,
		"topicName?": text, "endpointName?": text, "api?": text, "queueName?": text, "scheduleId?": text,
	}
	goKeys = object{"current": text, "next": text}
)

// oneSchedule has the id that the files name.
func oneSchedule(w *world) {
	w.ids[someSchedule] = "go-schedule"
	w.do("POST", "/v2/schedules/https://example.com/ok", "yearly", "Upstash-Cron", "0 0 1 1 *", "Upstash-Schedule-Id", "go-schedule")
}

var goCalls = []call{
	{file: "Queues.Upsert"},
	{file: "Queues.Get", want: goQueue},
	{file: "Queues.List", want: all{goQueue}},
	{file: "Queues.Pause", after: shows("/v2/queues/go-queue", object{"paused": true})},
	{file: "Queues.Resume", after: shows("/v2/queues/go-queue", object{"paused": false})},
	{file: "UrlGroups.UpsertEndpoints"},
	{file: "UrlGroups.Get", want: goGroupObject},
	{file: "UrlGroups.List", want: all{goGroupObject}},

	{
		file: "Publish", want: goOne,
		after: receives("PUT", "/a//b/../c?x=1&y=%2F+z", "héllo", "Content-Type", "text/plain", "X-Trace", "7"),
	},
	{
		file: "Publish-settings", want: goOne,
		after: func(w *world) {
			id := w.publish("/ok", "Upstash-Deduplication-Id", "go-settings") // the same message
			shows("/v2/messages/"+id, with(goMessage, object{
				"method": "PATCH", "maxRetries": 2, "body": "later", "callback": "https://example.com/ok?c=1",
				"failureCallback": "https://example.com/ok?f=1", "callerIP": "127.0.0.1",
				"header": object{"Content-Type": each{"text/plain"}, "X-One": each{"1"}},
			}))(w)
		},
	},
	{file: "Publish-notBefore", want: goOne},
	{file: "Publish-api", status: 404, want: anError},
	{file: "PublishJSON", want: goOne, after: receives("POST", "/ok", `{"hello":"world"}`, "Content-Type", "application/json")},
	{file: "Enqueue", want: goOne, after: receives("POST", "/ok", "queued")},
	{file: "EnqueueJSON", want: goOne, after: receives("POST", "/ok", `{"a":1}`)},
	{file: "UrlGroups.Publish", want: goGroup, after: receives("POST", "/ok?1", "all", "Upstash-Topic-Name", "go-group")},
	{file: "UrlGroups.PublishJSON", want: goGroup, after: receives("POST", "/ok?2", `{"a":1}`)},
	{file: "UrlGroups.Enqueue", want: goGroup, after: receives("POST", "/ok?1", "queued for all")},
	{file: "UrlGroups.EnqueueJSON", want: goGroup, after: receives("POST", "/ok?2", `{"a":1}`)},
	{
		file: "Batch", want: each{goOne, goOne, goGroup},
		after: receives("PUT", "/ok", "one", "Content-Type", "text/plain", "X-One", "1"),
	},
	{file: "BatchJSON", want: each{goOne}, after: receives("POST", "/ok", `{"a":1}`, "Content-Type", "application/json")},
	{file: "Messages.Get", before: twoWaiting, want: goMessage},
	{file: "Messages.Cancel", before: twoWaiting},
	{file: "Messages.CancelMany", before: twoWaiting, want: integers{"cancelled": 2}},
	{file: "Messages.CancelMany-none", before: twoWaiting, want: integers{"cancelled": 2}},
	{file: "Messages.CancelMany-nil", before: twoWaiting, want: integers{"cancelled": 2}},
	{file: "Messages.CancelAll", before: twoWaiting, want: integers{"cancelled": 2}},

	{file: "Schedules.Create", want: object{"scheduleId": text}},
	{file: "Schedules.CreateJSON", want: object{"scheduleId": text}},
	{file: "Schedules.List", want: all{goSchedule}},
	{file: "Schedules.Get", before: oneSchedule, want: goSchedule},
	{file: "Schedules.Pause", after: shows("/v2/schedules/"+someSchedule, object{"isPaused": true})},
	{file: "Schedules.Resume", after: shows("/v2/schedules/"+someSchedule, object{"isPaused": false})},
	{file: "Schedules.Delete"},

	{file: "Dlq.List", before: twoDead, want: object{"messages": each{goDead, goDead}, "cursor?": text}},
	{file: "Dlq.List-filter", before: twoDead, want: object{"messages": each{goDead}, "cursor": text}},
	{file: "Dlq.List-api", before: twoDead, want: object{"messages": each{goDead, goDead}, "cursor?": text}},
	{file: "Dlq.Get", before: twoDead, want: goDead},
	{file: "Dlq.Delete", before: twoDead},
	{file: "Dlq.DeleteMany", before: twoDead, want: integers{"deleted": 2}},

	{file: "Events.List", before: twoDelivered, want: object{"events": all{goEvent}, "cursor?": text}},
	{file: "Events.List-filter", before: twoDelivered, want: object{"events": each{with(goEvent, object{"state": "DELIVERED"})}}},
	{file: "Events.List-api", before: twoDelivered, want: object{"events": all{goEvent}, "cursor?": text}},

	{file: "UrlGroups.RemoveEndpoints", after: shows("/v2/topics/go-group", object{"endpoints": each{object{"url": "https://example.com/ok?1"}}})},
	{file: "UrlGroups.Delete"},
	{file: "Queues.Delete"},
	{file: "errors-message", status: 404, want: anError},
	{file: "errors-group", status: 404, want: anError},
	{file: "errors-destination", status: 400, want: object{"error": "a non-empty destination must be provided"}},
	{file: "Keys.Get", want: goKeys},
	{file: "Keys.Rotate", want: goKeys}, // last: recall dev signs with other keys then
}

// TestGo replays what Go's SDK sends, as of July 2024, its last change.
func TestGo(t *testing.T) {
	found := newFindings("2024-07")
	marks := replay(t, "go", goCalls)
	marks["Receiver.Verify"] = receiver(t, func(t *testing.T, s signed) {
		s.needs(t, "iss", "sub", "body")
		for _, name := range []string{"exp", "nbf", "iat"} {
			s.number(t, name)
		}
	})
	found.set("2024-07", marks)
	checkTable(t, "Go", goRows, found)
}
