package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// forecast is what a dry run says that a call would do.
type forecast struct {
	taken     int              // messages that wait
	requested int              // messages in flight, which are asked to stop
	skipped   int              // messages in flight, which are passed over
	blocker   recall.MessageID // the message in flight at which it would end
}

// settle shows what matches, and asks about what the call would do of it, which try
// finds out. It reports whether there is anything to do. What was confirmed by hand is
// a bound: no more than that is taken.
func (b *bulk) settle(ctx context.Context, s *session, f recall.Filter, try func(admin.Bulk) (forecast, error)) (bool, error) {
	n, err := s.Count(ctx, f)
	if err != nil {
		return false, err
	}
	b.found = n != recall.Count{}
	if !b.found && b.how.ExpectExactly == nil {
		return false, nil
	}
	if b.yes || b.how.DryRun {
		return true, nil
	}
	if b.how.ExpectExactly != nil && *b.how.ExpectExactly != n.Pending {
		return false, &recall.UnexpectedCountError{Found: n.Pending, Least: *b.how.ExpectExactly, Most: *b.how.ExpectExactly}
	}
	plan, err := s.Explain(ctx, f)
	if err != nil {
		return false, err
	}
	s.note("%s", strings.TrimRight(plan.String(), "\n"))
	s.note("%s, %d in flight", countText(n.Pending, "message waits", "messages wait"), n.InFlight)
	would, err := b.forecast(try)
	if err != nil || would.taken+would.requested == 0 {
		return false, err
	}
	if err := s.confirm(b.question(would)); err != nil {
		return false, err
	}
	b.bound(n.Pending, would)
	return true, nil
}

// forecast is a dry run of the call. One that is to wait for what is in flight is tried
// as one that passes over it: what becomes of that, nobody knows yet.
func (b *bulk) forecast(try func(admin.Bulk) (forecast, error)) (forecast, error) {
	how := b.how
	how.DryRun = true
	if how.Wait > 0 {
		how.Wait, how.Policy = 0, recall.Skip.String()
	}
	would, err := try(how)
	var blocked *recall.NotCancellableError
	if errors.As(err, &blocked) && would.taken > 0 {
		would.blocker, err = blocked.ID, nil
	}
	return would, err
}

func (b *bulk) question(would forecast) string {
	verb := capitalised(b.verb)
	take := fmt.Sprintf("%s %s", verb, countText(would.taken, "message", "messages"))
	switch {
	case would.blocker != "":
		return fmt.Sprintf("%s, up to %s, which is in flight?", take, would.blocker)
	case would.requested > 0 && would.taken == 0:
		return fmt.Sprintf("Stop %s in flight?", countText(would.requested, "message", "messages"))
	case would.requested > 0:
		return fmt.Sprintf("%s, and stop %d in flight?", take, would.requested)
	case b.how.Wait > 0 && would.skipped > 0:
		return fmt.Sprintf("%s, and wait up to %v for %d in flight?", take, b.how.Wait, would.skipped)
	}
	return take + "?"
}

// bound keeps the call to what was confirmed: the number that matches, and where only
// some of these are taken, so many.
func (b *bulk) bound(pending int, would forecast) {
	if b.how.ExpectExactly == nil && (b.how.ExpectAtMost == nil || *b.how.ExpectAtMost > pending) {
		b.how.ExpectAtMost = &pending
	}
	if would.taken < pending && would.requested == 0 && would.blocker == "" && b.how.Wait == 0 {
		b.how.Limit = would.taken
	}
}

// nothing is the end of a call that found nothing to do. Who named ids meant these.
func (b *bulk) nothing(s *session, result any) error {
	switch {
	case !b.found && len(b.ids) > 0:
		return recall.ErrNotFound
	case s.json:
		return printJSON(s.out, result)
	case b.found:
		s.say("Nothing to %s.", b.verb)
	default:
		s.say("Nothing matches.")
	}
	return nil
}

// wouldStopError is the end of a dry run at a message in flight: nothing was changed,
// and the result says what would be.
type wouldStopError struct{ *recall.NotCancellableError }

func (e wouldStopError) Error() string {
	return fmt.Sprintf("message %s is %s: the call would end there; nothing was changed", e.ID, e.State)
}

func (e wouldStopError) Unwrap() error { return e.NotCancellableError }

// wouldStop makes such an error of the one that a real call would have had.
func (b *bulk) wouldStop(err error) error {
	var blocked *recall.NotCancellableError
	if b.how.DryRun && errors.As(err, &blocked) {
		return wouldStopError{blocked}
	}
	return err
}

func isForecast(err error) bool {
	var stop wouldStopError
	return errors.As(err, &stop)
}
