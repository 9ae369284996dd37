package recall

import (
	"context"
	"time"
)

// Delivery is one attempt at a message, as a [Handler] and Options.OnRequest
// see it.
type Delivery struct {
	Message
	Attempt int // 1 for the first
}

// Handler takes messages in process. Returning nil means delivered; an error
// or a panic is a failed attempt, see [Permanent] and [RetryAfter]. The context
// ends at the attempt's deadline and when the broker is closed without
// patience.
type Handler func(ctx context.Context, d *Delivery) error

type handlers struct{}

// Handle registers h for messages whose URL is url, "local:" and a name.
func (b *Broker) Handle(url string, h Handler) error { panic("stub") }

// Permanent wraps err so that the attempt is the last.
func Permanent(err error) error { panic("stub") }

// RetryAfter wraps err so that the next attempt is due after d.
func RetryAfter(d time.Duration, err error) error { panic("stub") }

func attemptOf(ctx context.Context) MessageID { return "" }
