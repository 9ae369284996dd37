package postgres

import (
	"context"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// With Options.Listen processes tell each other with NOTIFY that there is something to
// claim, or that an object has changed. It is a hint: what is lost, because nobody
// listens at that moment or somebody else ends the connection, is found by polling.

// notifyRest is the least time between two notifications of a process: each takes a lock
// of the whole server when it is committed. So they are no part of the transactions that
// they tell of, either.
const notifyRest = 5 * time.Millisecond

// changedObjects is what follows the name of the sender where objects have changed.
const changedObjects = " objects"

// channel is where the processes of a queue meet. A schema has at most 40 bytes, and
// a channel 63.
func (e *Engine) channel() string { return "recall " + e.opts.Schema }

// self is what this engine calls itself in notifications, so that it can pass over its
// own.
func (e *Engine) self() string { return strconv.FormatUint(e.first, 36) }

// notify tells the others, soon after there is something to tell.
func (e *Engine) notify(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.told:
		}
		text := e.self()
		if e.objects.Swap(false) {
			text += changedObjects
		}
		_, err := e.pool.Exec(ctx, `SELECT pg_notify($1, $2)`, e.channel(), text)
		if err != nil {
			continue // they poll
		}
		if sleep(ctx, notifyRest) != nil {
			return
		}
	}
}

// The pauses before a listener that has lost its connection makes another one.
const (
	firstListenPause = 50 * time.Millisecond
	maxListenPause   = 5 * time.Second
)

// listen hears what the others tell, until ctx is done.
func (e *Engine) listen(ctx context.Context) {
	for lost := 0; ; lost++ {
		err := e.hear(ctx, func() { lost = 0 })
		if ctx.Err() != nil {
			return
		}
		if lost == 0 {
			e.log.Warn("recall: nothing is heard of other processes until there is another connection, they are found by polling", "error", err)
		}
		if sleep(ctx, min(firstListenPause<<min(lost, 10), maxListenPause)) != nil {
			return
		}
	}
}

// hear listens on a connection of its own, as long as it lasts. It calls heard whenever
// there is something to hear.
func (e *Engine) hear(ctx context.Context, heard func()) error {
	conn, disconnect, err := e.connect(ctx)
	if err != nil {
		return err
	}
	defer disconnect()
	if _, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{e.channel()}.Sanitize()); err != nil {
		return err
	}
	text := e.self() + "?" + changedObjects // for what was told before
	for {
		e.wakeBy(text)
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			return err
		}
		heard()
		text = n.Payload
	}
}

// wakeBy does what a notification asks for.
func (e *Engine) wakeBy(text string) {
	switch text {
	case e.self():
	case e.self() + changedObjects:
	default:
		hint(e.claim)
		if len(text) > len(changedObjects) && text[len(text)-len(changedObjects):] == changedObjects {
			hint(e.asked)
		}
	}
}
