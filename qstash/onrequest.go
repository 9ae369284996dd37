package qstash

import (
	"net/http"
	"strconv"

	"github.com/recallmq/recall"
)

// OnRequest gives a delivery the headers that QStash's have: it is for
// [recall.Options].OnRequest. Recall's own headers stay, and so does a
// User-Agent that the publisher had forwarded. It does not sign: see
// [Keys.OnRequest], which does both.
func OnRequest(r *http.Request, d *recall.Delivery) error {
	if _, own := d.Header["User-Agent"]; !own {
		r.Header.Set("User-Agent", "Upstash-QStash")
	}
	for name, value := range map[string]string{
		"Upstash-Message-Id":  string(d.ID),
		"Upstash-Retried":     strconv.Itoa(d.Attempt - 1),
		"Upstash-Topic-Name":  d.Topic,
		"Upstash-Schedule-Id": d.ScheduleID,
		"Upstash-Caller-Ip":   d.CallerIP,
		headerSignature:       "",
	} {
		r.Header.Del(name) // a publisher can forward a header of any name
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	return nil
}
