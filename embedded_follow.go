package recall

import (
	"slices"

	"github.com/recallmq/recall/store"
)

// setFollow encodes the messages that are published with an outcome.
func (w *finishWork) setFollow(f *Finish) error {
	msgs := f.Follow
	if w.end == endDead {
		for i := range f.FollowDead {
			if at := f.FollowDead[i].IDAt; at < 0 || at > len(f.FollowDead[i].Message.Body) {
				return invalid("FollowDead", "%d is not a place in the body", at)
			}
			msgs = append(msgs[:len(msgs):len(msgs)], f.FollowDead[i].Message)
		}
		w.named = f.FollowDead
	}
	if len(msgs) == 0 {
		return nil
	}
	w.follow = new(insertWork)
	return w.follow.encode(msgs, f.Now.UnixMilli())
}

// writeFollow publishes them. The dead letter has its number by now. If the
// commit comes to nothing, the next one begins with the same bodies.
func (w *finishWork) writeFollow(t *turn) error {
	if w.follow == nil {
		return nil
	}
	first := len(w.follow.rows) - len(w.named)
	for i := range w.named {
		if n := &w.named[i]; n.IDAt > 0 {
			w.follow.rows[first+i].body = n.bodyRow(deadLetterID(w.dead.rec.Died, w.dead.seq))
		}
	}
	return w.follow.write(t)
}

// bodyRow is the cold row of the message with the id of its dead letter.
func (n *DeadFollow) bodyRow(id DeadLetterID) []byte {
	body := bodyOf(&n.Message)
	body.Payload = slices.Concat(body.Payload[:n.IDAt], []byte(id), body.Payload[n.IDAt:])
	return store.AppendBody(nil, &body)
}
