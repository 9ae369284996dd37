package recall

import (
	"context"
	"slices"
	"time"
)

// Importer is an [Engine] that can take over what another engine has kept. Package
// dump moves a whole queue with it.
type Importer interface {
	// Import stores what another engine had, as one durable unit: after it returns nil
	// all of it is durable and visible, otherwise nothing is. An engine without
	// transactions over all that it has may have stored a part with an error, which is
	// ErrFailed then; the same batch, imported again, completes it.
	//
	// Messages keep their ids: Get, Cancel, filters, results, leases, events and the
	// dead letter queue know them by these. Among themselves they are walked in the
	// order of import, or, in an engine whose ids are its order, in that of their ids;
	// before whatever is published later in either case. They are not arrivals: no
	// deduplication, no standing cancellation and no new limit of a flow-control key
	// follows, and no event says so. A message whose id is that of a live one is
	// passed over.
	//
	// Objects that are there already stay as they are. Dead letters get new
	// DeadLetterIDs; they are not looked for. So that nothing is imported twice, the
	// caller counts in the row Mark, which is put into a bucket of the program in the
	// same unit.
	//
	// Errors: ErrInvalid for what could not have been in an engine; ErrFull,
	// ErrFailed (unknown), ErrClosed, that of ctx before anything was queued.
	Import(ctx context.Context, batch Import) (Imported, error)
}

// Import is what [Importer.Import] makes one.
type Import struct {
	// Messages are as [Engine.List] returns them, with all that is to be kept: ID,
	// CreatedAt, DueAt, Attempts, and all that publishers set. State is asked only
	// whether it is StateHeld: what was in flight is pending, and its attempt counts.
	Messages []Message
	Dead     []DeadLetter // as [Engine.ListDead] returns them
	Objects  []Object     // as [Keeper.Objects] returns them
	// Mark is a row for [Transactor.Lookup]; none if Bucket is empty.
	Mark struct {
		Bucket     string
		Key, Value []byte
	}
	Now time.Time
}

// Imported is what [Importer.Import] has stored; the rest was there.
type Imported struct{ Messages, Dead, Objects int }

// validate refuses what no engine has kept. The broker has checked what publishers
// set, once; here it is about what would break an index.
func (b *Import) validate() error {
	for i := range b.Messages {
		m := &b.Messages[i]
		if err := m.validImport(); err != nil {
			return err
		}
		if id, _ := m.ID.ulid(); int64(id.Time()) > b.Now.Add(maxAhead).UnixMilli() {
			return invalid("ID", "%s is of a time to come", m.ID)
		}
	}
	for i := range b.Dead {
		d := &b.Dead[i]
		if err := d.Message.validImport(); err != nil {
			return err
		}
		if d.DiedAt.IsZero() {
			return invalid("Dead", "%s has no time of death", d.Message.ID)
		}
	}
	for _, o := range b.Objects {
		if o.Name == "" || o.Value == nil || !slices.Contains(movedKinds, o.Kind) {
			return invalid("Objects", "%q is no object", clip(o.Name))
		}
	}
	return nil
}

// movedKinds are the kinds of objects that are not an engine's own.
var movedKinds = []ObjectKind{ObjectQueue, ObjectTopic, ObjectSchedule, ObjectFlow, ObjectScheduleTime}

// maxAhead is how far the clock may have been ahead that ids have their time from.
const maxAhead = 24 * time.Hour

// maxImportBody is the largest body that any broker takes.
const maxImportBody = maxBodyBound

// validImport checks one message.
func (m *Message) validImport() error {
	if _, err := ParseMessageID(string(m.ID)); err != nil {
		return err
	}
	switch {
	case m.CreatedAt.IsZero() || m.DueAt.IsZero():
		return invalid("Message", "%s has no time of publication, or none when it is due", m.ID)
	case m.Attempts < 0 || m.Attempts > mostAttempts:
		return invalid("Attempts", "%d is not between 0 and %d", m.Attempts, mostAttempts)
	case m.Retries == nil:
		return invalid("Retries", "%s does not say how many", m.ID)
	}
	// A destination and a delay were good at the time of publication.
	at := *m
	at.Delay, at.NotBefore = 0, time.Time{}
	o := Options{MaxBody: maxImportBody}
	if err := at.validate(&o, m.CreatedAt); err != nil {
		return err
	}
	for _, id := range []MessageID{m.Source, m.Root} {
		if id != "" {
			if _, err := ParseMessageID(string(id)); err != nil {
				return err
			}
		}
	}
	return checkNames(m)
}

func checkNames(m *Message) error {
	if err := checkName("Endpoint", m.Endpoint); err != nil {
		return err
	}
	return checkName("Blocks", m.Blocks)
}

// CheckImport tells whether a batch is one that engines take, for those who write one.
// Errors match [ErrInvalid].
func CheckImport(batch *Import) error { return batch.validate() }
