package qstash

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/recallmq/recall"
)

// The page of the dead letter queue, which also bounds what one request deletes or
// retries by a filter, and how many ids a request may name that reads entries.
const (
	maxDeadPage = 100
	maxDeadIDs  = 1000
)

// deadFields are what dead letters can be chosen by. A change refuses host and
// path, as QStash does.
var deadFields = slices.Clip([]string{
	"dlqIds", "messageId", "url", "topicName", "scheduleId", "queueName", "fromDate", "toDate", "responseStatus",
	"callerIp", "callerIP", "label", "flowControlKey", "count",
})

var (
	deadChanging = dialect{only: deadFields, options: []string{"cursor"}}
	deadReading  = dialect{only: append(deadFields, "host", "path"), options: []string{"cursor"}, lenient: true}
)

// readQuery reads the criteria of a request that only looks.
func readQuery(r *http.Request, d *dialect) (criteria, error) {
	c, err := parseQuery(r.URL.RawQuery, d)
	if err != nil {
		return c, err
	}
	return merge(criteria{dialect: d}, c)
}

// deadSelection is which dead letters a request means.
type deadSelection struct {
	ids      []recall.DeadLetterID // nil: none given; otherwise all else is left aside
	filter   recall.Filter
	statuses []int // of the last response; nil: any
	after    recall.DeadLetterID
	limit    int
}

func (c *criteria) deadSelection() (s deadSelection, err error) {
	if given, ok := c.values["dlqIds"]; ok {
		s.ids = deadIDs(given)
		return s, nil
	}
	s.filter, _ = c.filter()
	if ids, ok := c.values["messageId"]; ok && s.filter.IDs == nil {
		s.filter.IDs = (&criteria{ids: ids}).messageIDs()
	}
	if s.statuses, err = statuses(c.values["responseStatus"]); err != nil {
		return s, err
	}
	if text := c.options["cursor"]; text != "" { // QStash has sent an empty one for the end
		if s.after, err = recall.ParseDeadLetterID(text); err != nil {
			return s, badRequest("cursor: %.100q is none of the dead letter queue", text)
		}
	}
	s.limit = maxDeadPage
	if c.limit > 0 {
		s.limit = min(c.limit, maxDeadPage)
	}
	return s, nil
}

// deadIDs leaves out what is no id and what is given twice. The list stays a list.
func deadIDs(given []string) []recall.DeadLetterID {
	ids, seen := []recall.DeadLetterID{}, map[recall.DeadLetterID]bool{}
	for _, text := range given {
		id, err := recall.ParseDeadLetterID(text)
		if err == nil && !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

func statuses(given []string) (list []int, err error) {
	for _, text := range given {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > 999 {
			return nil, badRequest("responseStatus: %.100q is not a status", text)
		}
		list = append(list, n)
	}
	return list, nil
}

// answered tells whether the last attempt of d was answered as asked for; 0 stands
// for no answer.
func (s *deadSelection) answered(d *recall.DeadLetter) bool {
	if s.statuses == nil {
		return true
	}
	status := 0
	if d.Response != nil {
		status = d.Response.Status
	}
	return slices.Contains(s.statuses, status)
}
