package recall

import "context"

// MaxDeadLetterPage is the most entries that [Broker.DeadLetterPage] returns.
const MaxDeadLetterPage = 1000

// DeadLetterPage is a part of the dead letter queue.
type DeadLetterPage struct {
	DeadLetters []DeadLetter
	// Next is what to go on behind; empty: there was nothing more.
	Next DeadLetterID
}

// ParseDeadLetterID returns s as an id if it has the form of one. It does not
// tell whether such an entry exists. Errors match [ErrInvalid].
func ParseDeadLetterID(s string) (DeadLetterID, error) {
	if _, _, err := DeadLetterID(s).parse(); err != nil {
		return "", err
	}
	return DeadLetterID(s), nil
}

// DeadLetter returns one entry of the dead letter queue, as
// [Broker.DeadLetters] shows it. Errors: [ErrNotFound] if there is none, or none
// any more, [ErrInvalid] for what is no id, [ErrCorrupt], [ErrClosed], that of
// ctx. Safe for concurrent use.
func (b *Broker) DeadLetter(ctx context.Context, id DeadLetterID) (DeadLetter, error) {
	_, number, err := id.parse()
	if err != nil {
		return DeadLetter{}, err
	}
	before := DeadLetterID("")
	if number > 1 {
		before = deadLetterID(0, number-1) // the queue is in the order of the numbers
	}
	page, err := b.deadPage(ctx, Filter{}, before, 1)
	if err != nil {
		return DeadLetter{}, err
	}
	if len(page) == 0 || page[0].ID != id {
		return DeadLetter{}, ErrNotFound
	}
	return page[0], nil
}

// DeadLetterPage returns up to limit entries of [Broker.DeadLetters], those
// behind the entry `after` if it is not empty: the Next of the page before, or the
// ID of any entry, which may be gone. A page is shorter than limit at the end, and
// where bodies are large: those of a page take about [PageBytes]. Whether there is
// more says Next. The limit is between 1 and [MaxDeadLetterPage].
func (b *Broker) DeadLetterPage(ctx context.Context, f Filter, after DeadLetterID, limit int) (page DeadLetterPage, err error) {
	if limit < 1 || limit > MaxDeadLetterPage {
		return page, invalid("limit", "%d is not between 1 and %d", limit, MaxDeadLetterPage)
	}
	if after != "" {
		if _, _, err := after.parse(); err != nil {
			return page, err
		}
	}
	if page.DeadLetters, err = b.deadPage(ctx, f, after, limit); err != nil || len(page.DeadLetters) == 0 {
		return page, err
	}
	last := page.DeadLetters[len(page.DeadLetters)-1].ID
	more, err := b.isDeadBehind(ctx, f, last)
	if err != nil {
		return DeadLetterPage{}, err
	}
	if more {
		page.Next = last
	}
	return page, nil
}

// deadPage reads a page as it may be shown.
func (b *Broker) deadPage(ctx context.Context, f Filter, after DeadLetterID, limit int) ([]DeadLetter, error) {
	if err := b.checkRead(ctx, f); err != nil {
		return nil, err
	}
	defer b.end()
	page, err := b.engine.ListDead(ctx, f.normalise(), after, limit)
	for i := range page {
		page[i].Message = page[i].Message.shown()
	}
	return page, err
}

func (b *Broker) isDeadBehind(ctx context.Context, f Filter, id DeadLetterID) (bool, error) {
	if err := b.checkRead(ctx, f); err != nil {
		return false, err
	}
	defer b.end()
	ids, err := b.engine.DeadIDs(ctx, f.normalise(), id, 1)
	return len(ids) > 0, err
}
