package recall

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// Delivered returns a message that was delivered by this broker less than
// Options.DeliveredRetention ago, with its body, as [Broker.Get] showed it before.
// It is for those who publish a message and look at it a moment later, by when it
// may be gone. What is kept for that is in memory, in at most
// Options.DeliveredBytes, the newest messages: it does not survive a restart, and
// nothing may depend on it. That a message was delivered the log says for longer:
// [Broker.Events].
//
// Errors: [ErrNotFound] for what still lives, was not delivered, or is not kept any
// more; [ErrInvalid] for what is no id, [ErrClosed], that of ctx. Safe for
// concurrent use.
func (b *Broker) Delivered(ctx context.Context, id MessageID) (Message, error) {
	switch _, err := b.Get(ctx, id); {
	case err == nil:
		return Message{}, ErrNotFound
	case !errors.Is(err, ErrNotFound):
		return Message{}, err
	}
	m, ok := b.kept.get(id, b.clock.Now())
	if !ok {
		return Message{}, ErrNotFound
	}
	return m.shown(), nil
}

// deliveredOverhead is what a kept message takes besides its texts, in bytes.
const deliveredOverhead = 1 << 10

// deliveredMessages keeps messages for a while after their delivery: the newest,
// in the order in which they came, as far as there is room. One that is nil keeps
// none.
type deliveredMessages struct {
	clock  Clock
	retain time.Duration
	most   int64 // bytes

	mu    sync.Mutex
	byID  map[MessageID]*deliveredMessage
	queue []*deliveredMessage // oldest first; those that were taken back stay until they are old
	bytes int64               // of what is in the queue
	unset func() bool         // of the timer that drops what nobody asks for; nil: none is set
}

type deliveredMessage struct {
	message Message
	at      time.Time
	bytes   int64
}

// newDeliveredMessages returns nil if nothing is to be kept.
func newDeliveredMessages(o *Options) *deliveredMessages {
	if o.DeliveredRetention == 0 {
		return nil
	}
	return &deliveredMessages{
		clock: o.Clock, retain: o.DeliveredRetention, most: o.DeliveredBytes, byID: map[MessageID]*deliveredMessage{},
	}
}

// put keeps a message whose delivery is about to be recorded: it must be there
// when others see that the message is gone.
func (d *deliveredMessages) put(m *Message, now time.Time) {
	if d == nil {
		return
	}
	one := &deliveredMessage{message: *m, at: now, bytes: deliveredOverhead + deliveredSize(m)}
	if one.bytes > d.most {
		return
	}
	if !strings.HasPrefix(m.URL, "http") { // a handler, or a consumer, may go on to use what it was given
		one.message.Body, one.message.Header = bytes.Clone(m.Body), m.Header.Clone()
	}
	one.message.State = ""
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropOld(now)
	d.byID[m.ID] = one
	d.queue = append(d.queue, one)
	d.bytes += one.bytes
	for d.bytes > d.most {
		d.dropFirst()
	}
	d.setTimer(now)
}

// deliveredSize bounds the texts of a message, in bytes.
func deliveredSize(m *Message) int64 {
	n := m.size() + len(m.URL) + len(m.Queue) + len(m.Topic) + len(m.ScheduleID) + len(m.FlowKey) + moreSize(m)
	for _, l := range m.Labels {
		n += len(l)
	}
	return int64(n)
}

// takeBack takes back a message whose delivery could not be recorded.
func (d *deliveredMessages) takeBack(id MessageID) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.byID, id)
}

func (d *deliveredMessages) get(id MessageID, now time.Time) (m Message, ok bool) {
	if d == nil {
		return m, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dropOld(now)
	one, ok := d.byID[id]
	if !ok {
		return m, false
	}
	return one.message, true
}

// dropOld drops what is old enough.
func (d *deliveredMessages) dropOld(now time.Time) {
	for len(d.queue) > 0 && now.Sub(d.queue[0].at) >= d.retain {
		d.dropFirst()
	}
}

func (d *deliveredMessages) dropFirst() {
	first := d.queue[0]
	d.queue[0] = nil // the array behind the queue lives on
	d.queue = d.queue[1:]
	d.bytes -= first.bytes
	if d.byID[first.message.ID] == first {
		delete(d.byID, first.message.ID)
	}
}

// setTimer makes sure that what is there goes when it is old, though nobody calls.
func (d *deliveredMessages) setTimer(now time.Time) {
	if d.unset != nil || len(d.queue) == 0 {
		return
	}
	d.unset = d.clock.AfterFunc(max(0, d.queue[0].at.Add(d.retain).Sub(now)), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.unset == nil { // it was closed
			return
		}
		d.unset = nil
		now := d.clock.Now()
		d.dropOld(now)
		d.setTimer(now)
	})
}

// close lets go of everything.
func (d *deliveredMessages) close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.unset != nil {
		d.unset()
	}
	d.unset, d.byID, d.queue, d.bytes = nil, map[MessageID]*deliveredMessage{}, nil, 0
}
