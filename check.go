package recall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/recallmq/recall/store"
)

// Progress is told how much of a long call about a file is done, of a total that
// stays the same: bytes that are read or written, in all the passes that the call
// makes. done never falls, and is total when the call has succeeded. It is called
// by the goroutine of the call, about once for each MiB, and must not block for
// long. Nil is none.
type Progress func(done, total int64)

// FindingKind groups what can be wrong with a file.
type FindingKind string

// The kinds of findings.
const (
	FindingPage   FindingKind = "page"   // the tree of pages, or the list of free ones
	FindingRow    FindingKind = "row"    // a row that does not decode, or whose checksum does not match
	FindingLink   FindingKind = "link"   // a row that belongs to nothing, or one that is missing
	FindingNumber FindingKind = "number" // numbering, or a count
	FindingMemory FindingKind = "memory" // indexes and counts that an open would build
)

// Finding is one thing that is wrong with a file.
type Finding struct {
	Kind  FindingKind
	Where string // bucket and key, the latter in hexadecimal; "" if the text says it
	Text  string // for a person
}

// String returns the finding as one line.
func (f Finding) String() string {
	if f.Where == "" {
		return fmt.Sprintf("%s: %s", f.Kind, f.Text)
	}
	return fmt.Sprintf("%s: %s: %s", f.Kind, f.Where, f.Text)
}

// CheckReport is what [Check] has found.
type CheckReport struct {
	Findings []Finding // at most 1,000; none: the file is as it should be
	Omitted  int       // findings beyond those

	Format      int           // version of the format; 0: nothing was ever stored
	FileBytes   int64         // size of the file
	UsedBytes   int64         // up to the highest page in use
	FreeBytes   int64         // of those, reusable
	FreePages   int64         // the same, in pages
	Segments    int           // of messages and dead letters
	Rows        int           // messages and dead letters stored, with those whose room is not given back yet
	Messages    map[State]int // that live, by the state that they would have if the file was opened now
	DeadLetters int
	Undoable    int // cancelled messages that Restore could bring back, if the window of who opens the file is long enough
	Operations  int // records of bulk operations
	Events      int // in the log
}

// OK tells whether nothing was found.
func (r CheckReport) OK() bool { return len(r.Findings) == 0 }

// Live is how many messages there are, in all states.
func (r CheckReport) Live() (n int) {
	for _, count := range r.Messages {
		n += count
	}
	return n
}

// checkStates are those that a message can be in when a file is opened.
var checkStates = []State{StateReady, StateDelayed, StateRetrying, StateQueueBlocked, StateFlowWaiting, StateHeld}

// String returns the report as lines for a person, each finding on one of its own.
func (r CheckReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "file: %d bytes, %d in use, %d pages free, format %d\n", r.FileBytes, r.UsedBytes-r.FreeBytes, r.FreePages, r.Format)
	fmt.Fprintf(&b, "messages: %d", r.Live())
	for _, s := range checkStates {
		if r.Messages[s] > 0 {
			fmt.Fprintf(&b, ", %s %d", s, r.Messages[s])
		}
	}
	fmt.Fprintf(&b, "\ndead letters: %d\n", r.DeadLetters)
	fmt.Fprintf(&b, "cancelled, can be restored: %d\n", r.Undoable)
	fmt.Fprintf(&b, "segments: %d, rows: %d, operations: %d, events: %d\n", r.Segments, r.Rows, r.Operations, r.Events)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s\n", f)
	}
	switch {
	case r.Omitted > 0:
		fmt.Fprintf(&b, "%d findings, of which %d are shown\n", len(r.Findings)+r.Omitted, len(r.Findings))
	case !r.OK():
		fmt.Fprintf(&b, "%d findings\n", len(r.Findings))
	default:
		b.WriteString("nothing is wrong\n")
	}
	return b.String()
}

// Check looks for damage in the file at path, which nobody may have open: the tree
// of pages, every row with its checksum, that every message has its body and an id
// of this file, numbering and counts; and if nothing was found it builds what
// [Open] would, and holds indexes, counts and queues against the file. Counts of
// messages are there only then.
//
// It changes nothing, and works on a file that may not be written. Other processes
// may check the same file meanwhile, and none can open it. It needs the memory of
// an Open, and about 100 bytes more for each page of 4 KiB.
//
// Findings are no error. Errors: [ErrInUse], [ErrForeign], [ErrVersion], those of
// the file system, among them [io/fs.ErrNotExist], and that of ctx. What is in the
// program's own buckets bears no checksums: of that only the pages are checked.
func Check(ctx context.Context, path string, progress Progress) (CheckReport, error) {
	return (&fileCheck{}).run(ctx, path, progress)
}

// run is Check.
func (c *fileCheck) run(ctx context.Context, path string, progress Progress) (CheckReport, error) {
	x, err := store.Examine(ctx, path, store.ExamineFuncs{Row: c.row, Object: c.object, Cancel: uint8(verbCancel), Load: c.build}, progress)
	if err != nil {
		return CheckReport{}, fmt.Errorf("recall: check %s: %w", path, err)
	}
	r := &c.report
	r.Format, r.FileBytes, r.UsedBytes = int(x.Format), x.FileBytes, x.UsedBytes
	r.FreePages, r.FreeBytes = x.FreePages, x.FreePages*x.PageSize
	r.Segments, r.Rows, r.Events, r.Omitted = x.Segments, x.Rows, x.Events, x.Omitted
	r.Operations = x.Operations
	for _, f := range x.Findings {
		r.Findings = append(r.Findings, Finding{FindingKind(f.Kind), f.Where, f.Text})
	}
	return *r, nil
}

// fileCheck is one Check.
type fileCheck struct {
	report  CheckReport
	created int64              // ms: of the message before
	also    func(*store.Store) // of tests, which may be nil: called last with a file in which nothing was found
}

var errIDOrder = errors.New("its id is older than that of the message before")

// row checks what the store cannot know of a message.
func (c *fileCheck) row(tab store.Table, _ uint64, rec *store.Record, body *store.Body) error {
	m := messageOf(rec)
	if err := m.setBody(body); err != nil || tab == store.Dead {
		return err
	}
	created := int64(ulid.ULID(rec.ID).Time())
	if created < c.created {
		return errIDOrder
	}
	c.created = created
	return nil
}

// object checks those whose values the engine has to understand. What others hold
// is known to whoever keeps them.
func (c *fileCheck) object(kind byte, _ string, value []byte) error {
	switch ObjectKind(kind) {
	case ObjectQueue:
		return json.Unmarshal(value, new(QueueSettings))
	case ObjectFlow:
		return json.Unmarshal(value, new(FlowSettings))
	}
	return nil
}

// build builds what an open would, and checks it.
func (c *fileCheck) build(s *store.Store) error {
	o := checkOptions()
	e := emptyEmbedded(s, o)
	now := o.Clock.Now()
	todo, err := e.rebuild(now.UnixMilli())
	if err != nil {
		return err
	}
	c.count(e, now)              // nobody else has the engine: it needs no lock
	for _, ended := range todo { // as settleCrash does, which then writes
		if p, en := e.live.lookup(ended.seq); en.exists() {
			e.live.move(p, en, phaseFinishing)
		}
	}
	found := &check{e: e}
	found.memory()
	found.file(s)
	for _, fault := range found.faults {
		c.report.Findings = append(c.report.Findings, Finding{Kind: FindingMemory, Text: fault.Error()})
	}
	if c.also != nil {
		c.also(s)
	}
	return nil
}

// checkOptions are those of an open that forgets nothing.
func checkOptions() *Options {
	o := &Options{UndoWindow: 100 * 365 * 24 * time.Hour, UndoBytes: math.MaxInt64, Logger: slog.New(slog.DiscardHandler), NoDispatch: true}
	return o.withDefaults()
}

func (c *fileCheck) count(e *embedded, now time.Time) {
	c.report.Messages = map[State]int{}
	e.live.eachEntry(func(_ *page, en entry, seq uint64) {
		if en.phase == phaseMarked {
			c.report.Undoable++
		} else {
			c.report.Messages[e.stateLocked(en, seq, now)]++
		}
	})
	c.report.DeadLetters = e.dead.live
}

// id: the id in the row of a message is the one that its number makes.
func (c *check) id(p *page, en entry, seq uint64, rec *store.Record) {
	created, _ := p.timesOf(seq, en)
	if rec.Foreign && created != rec.Created {
		c.fault("%d was imported at %d, and at %d by the file", seq, created, rec.Created)
	}
	if id := c.e.idOf(seq, created); id != rec.ID {
		c.fault("%d has the id %s, and should have %s", seq, messageID(rec.ID), messageID(id))
	}
}
