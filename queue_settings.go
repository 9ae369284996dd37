package recall

import (
	"encoding/json"
	"time"
)

// MaxParallelism bounds the parallelism of a queue.
const MaxParallelism = 1000

// QueueSettings are what is set of a queue.
type QueueSettings struct {
	// Parallelism is how many messages may be out at a time, at least 1.
	Parallelism int `json:"parallelism"`
	// Paused queues hand out nothing.
	Paused    bool      `json:"paused,omitempty"`
	CreatedAt time.Time `json:"created"`
	UpdatedAt time.Time `json:"updated"`
}

// MarshalJSON implements json.Marshaler. The times are the clock's, which a program
// may set; one that JSON cannot hold is written as the nearest that it can.
func (s QueueSettings) MarshalJSON() ([]byte, error) {
	type plain QueueSettings
	s.CreatedAt, s.UpdatedAt = inJSON(s.CreatedAt), inJSON(s.UpdatedAt)
	return json.Marshal(plain(s))
}

// inJSON is t, or the end of the years that JSON has room for.
func inJSON(t time.Time) time.Time {
	t = t.UTC()
	switch {
	case t.Year() < 0:
		return time.Date(0, time.January, 1, 0, 0, 0, 0, time.UTC)
	case t.Year() > 9999:
		return time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)
	}
	return t
}
