package recall

import "time"

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
