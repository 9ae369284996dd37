// Package peer runs other queues the way their own documentation and the disk
// allow, all behind one interface, so that Recall can be measured beside them.
// A file is about one of them: how it is opened, what makes it durable, and
// where it is read back that it is.
package peer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// Message is what every peer keeps. One that has columns keeps all of it; one
// that has not, the label, the time and the body.
type Message struct {
	Number   int // of this message, in the order of creation
	URL      string
	Topic    string
	Schedule string
	IP       string
	Label    string // one of [Labels]
	Due      time.Time
	Body     []byte // text
}

// Labels are all that a message can have: some peers have a queue for each, and
// must know them beforehand. The last one is for traffic beside a measurement.
var Labels = []string{
	"label-0", "label-1", "label-2", "label-3", "label-4", "label-5", "label-6", "label-7", "label-8", "label-9",
	Aside,
}

// Aside is the label of messages that no cancellation means.
const Aside = "aside"

// URLs are the destinations that messages may name.
var URLs = urls()

func urls() []string {
	out := make([]string, 100)
	for i := range out {
		out[i] = fmt.Sprintf("local:hook-%02d", i)
	}
	return out
}

// Handler takes the body of a message. It is called from many goroutines at
// once and does not fail.
type Handler func(body []byte)

// Queue is a peer that is open on a folder. What it answers to is durable by
// then. All but Close are safe for concurrent use. What its API cannot do
// answers a [*CannotError].
type Queue interface {
	Publish(ctx context.Context, m Message) error
	// PublishBatch publishes all of them, in one commit if there is such a thing.
	PublishBatch(ctx context.Context, msgs []Message) error
	// Deliver hands messages that are due to the handler and then forgets them,
	// durably, until stop is called.
	Deliver(h Handler) (stop func() error, err error)
	// Cancel takes back everything that waits with that label, and says how many
	// that were.
	Cancel(ctx context.Context, label string) (int, error)
	// Count says exactly how many wait with that label.
	Count(ctx context.Context, label string) (int, error)
	// Size is what the files take.
	Size() (int64, error)
	Close() error
}

// Quieter is a queue that can finish work which it would otherwise do beside a
// measurement.
type Quieter interface {
	Quiet(ctx context.Context) error
}

// Checkpointer is a queue whose first writes after a checkpoint cost more.
type Checkpointer interface {
	Checkpoint(ctx context.Context) error
}

// Finisher is a queue that forgets what was handled some time after the handler:
// it tells how many messages it has handed out and not forgotten.
type Finisher interface {
	Unfinished(ctx context.Context) (int, error)
}

// Outside is a queue that lives in other processes: it tells their memory.
type Outside interface{ Memory() (int64, error) }

// Peer is one of those compared.
type Peer struct {
	Name     string
	Settings string // for the report
	CancelBy string // how it takes a label back
	CountBy  string
	Program  string // the service that it needs; none if it is embedded
	// Open opens a folder, new or left behind by Close, for that many publishers,
	// and fails where a commit would not be on the disk. A service is started in
	// it, and Close stops that.
	Open func(ctx context.Context, dir string, publishers int) (Queue, error)
	// OpenOn opens one of [OnPostgres] on another server than Open would, and so that
	// nothing is delivered. It fails as Open does.
	OpenOn func(ctx context.Context, dir string, o PostgresOptions) (PostgresQueue, error)
}

// Embedded tells whether everything is in this process.
func (p *Peer) Embedded() bool { return p.Program == "" }

// CannotError says why a peer cannot do what it was asked for.
type CannotError struct{ Reason string }

func (e *CannotError) Error() string { return "cannot: " + e.Reason }

func cannot(reason string) error { return &CannotError{reason} }

// NotDurableError is a setting with which an answer would mean less than that
// of the others.
type NotDurableError struct{ Peer, Setting, Got, Want string }

func (e *NotDurableError) Error() string {
	return fmt.Sprintf("%s has %s = %s, not %s: its commits would not compare", e.Peer, e.Setting, e.Got, e.Want)
}

// mustBe compares a setting that was read back.
func mustBe(peer, setting, got, want string) error {
	if got == want {
		return nil
	}
	return &NotDurableError{peer, setting, got, want}
}

// FolderSize adds up the files below a folder, but not those in folders of these
// names. Some may go while it looks.
func FolderSize(dir string, but ...string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return ignoreGone(err)
		case e.IsDir() && slices.Contains(but, e.Name()):
			return fs.SkipDir
		case e.IsDir():
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return ignoreGone(err)
		}
		n += info.Size()
		return nil
	})
	return n, err
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
