package recall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/recallmq/recall/store"
)

// SalvageCounts are numbers of things in a file.
type SalvageCounts struct {
	Messages         int
	DeadLetters      int
	Objects          int // queues, topics, schedules, flow-control keys
	Operations       int // records of bulk operations
	DeduplicationIDs int
	Events           int
	OwnKeys          int // in the program's own buckets
}

// SalvageReport is what [Salvage] has copied, and what not.
type SalvageReport struct {
	Copied SalvageCounts
	// Lost counts what is known to have been there and could not be read. In pages
	// that could not be read at all there may have been more. Events, deduplication
	// ids and the program's keys are not counted: see Findings.
	Lost SalvageCounts
	// LostMessages and LostDeadLetters are the sequence numbers of the first 10,000
	// of each that are lost. That of a message is in its id.
	LostMessages, LostDeadLetters []uint64
	LostPages                     int       // that could not be read, or only in part
	Findings                      []Finding // what is damaged; at most 1,000
	Omitted                       int       // findings beyond those
	// Doubts say, for a person, what could not be known: of which messages it is
	// uncertain whether they were delivered or cancelled. If a meta page or the newest
	// root is damaged, this is so of what the newest commit says.
	Doubts []string
}

// Complete tells whether nothing was lost, and nothing is in doubt.
func (r SalvageReport) Complete() bool {
	return len(r.Findings) == 0 && len(r.Doubts) == 0 && r.Lost == SalvageCounts{}
}

// String returns the report as lines for a person.
func (r SalvageReport) String() string {
	var b strings.Builder
	line := func(name string, c SalvageCounts) {
		fmt.Fprintf(&b, "%s: %d messages, %d dead letters, %d queues, topics, schedules and keys, %d operations, %d deduplication ids, %d events, %d own keys\n",
			name, c.Messages, c.DeadLetters, c.Objects, c.Operations, c.DeduplicationIDs, c.Events, c.OwnKeys)
	}
	line("copied", r.Copied)
	if r.Complete() {
		b.WriteString("nothing was lost\n")
		return b.String()
	}
	line("known to be lost", r.Lost)
	fmt.Fprintf(&b, "pages that could not be read: %d\n", r.LostPages)
	for name, list := range map[string][]uint64{"messages": r.LostMessages, "dead letters": r.LostDeadLetters} {
		if len(list) > 0 {
			fmt.Fprintf(&b, "%s that are lost, by number: %s\n", name, store.Ranges(list))
		}
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s\n", f)
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "%d more findings\n", r.Omitted)
	}
	for _, d := range r.Doubts {
		fmt.Fprintf(&b, "in doubt: %s\n", d)
	}
	return b.String()
}

// Salvage copies what can be read in a damaged file, which nobody may have open,
// into a new one, and says what could not be. The damaged file is not changed; the
// new one must not exist. It needs no sound page but the one with the key of the
// ids: broken meta pages, branches and leaves are passed over, and if the newest tree
// of pages is damaged, what the commit before had of it counts. Messages keep their ids.
//
// What was durably delivered or cancelled stays so, as far as the rows that say it
// can be read; where they cannot, what older pages say counts. A message that was gone
// may be back then, and Doubts says of which, and which count as gone by older pages
// alone. What was in flight is pending. Rows with a wrong checksum are never copied;
// what is in the program's own buckets has none. It needs memory for the states and
// the ids of cancelled messages, as an Open does.
//
// The copy is synced and was checked when Salvage returns. Numbers and counts in it
// that do not add up are among the Findings. It is made of
// one file: restore a backup instead where there is one that is new enough.
//
// Errors: [ErrForeign] where nothing of Recall's is found, [ErrVersion], [ErrInUse],
// [ErrCorrupt] if the key of the ids is lost, those of the file system – one that
// matches [io/fs.ErrExist] if there is such a file –, and that of ctx. Then there is no
// new file.
func Salvage(ctx context.Context, from, to string, progress Progress) (SalvageReport, error) {
	c := &fileCheck{}
	row := func(tab store.Table, seq uint64, rec *store.Record, body *store.Body) error {
		c.created = 0 // what has lost its neighbours is in no order
		return c.row(tab, seq, rec, body)
	}
	object := func(kind byte, name string, value []byte) error {
		if ObjectKind(kind) <= ObjectScheduleTime && !json.Valid(value) {
			return errors.New("its value does not decode")
		}
		return c.object(kind, name, value)
	}
	p := &salvageProgress{tell: progress}
	s, err := store.Salvage(ctx, from, to, store.SalvageFuncs{Row: row, Object: object, Cancel: uint8(verbCancel)}, p.copying)
	var left []Finding
	if err == nil {
		left, err = checkSalvaged(ctx, to, p.checking)
	}
	if err != nil {
		return SalvageReport{}, fmt.Errorf("recall: salvage %s: %w", from, err)
	}
	r := salvageReport(s)
	r.Findings = append(r.Findings, left...)
	return r, nil
}

// salvageProgress makes one of those of the copying and of the check. The latter reads
// the copy three times, and of the total, which is told before there is a copy, it
// has what three readings of the damaged file would take.
type salvageProgress struct {
	tell Progress // may be nil
	copy int64    // what the copying has of the total: two readings
}

func (p *salvageProgress) copying(done, total int64) {
	p.copy = total
	if p.tell != nil {
		p.tell(done, p.total())
	}
}

func (p *salvageProgress) total() int64 { return p.copy + p.copy/2*3 }

func (p *salvageProgress) checking(done, total int64) {
	if p.tell == nil {
		return
	}
	all := p.total()
	if done < total {
		all = p.copy + int64(float64(all-p.copy)*(float64(done)/float64(total)))
	}
	p.tell(all, p.total())
}

// checkSalvaged removes a copy with damaged pages or rows: that there are none,
// Salvage promises. What else is wrong with it is returned: it holds what could be
// read all the same.
func checkSalvaged(ctx context.Context, to string, progress Progress) (left []Finding, err error) {
	r, err := Check(ctx, to, progress)
	for _, f := range r.Findings {
		if f.Kind != FindingNumber && f.Kind != FindingMemory {
			err = fmt.Errorf("%w: the copy is not sound: %s", ErrCorrupt, f)
			break
		}
		f.Text = "the copy: " + f.Text
		left = append(left, f)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(to))
	}
	return left, nil
}

func salvageReport(s store.Salvaged) SalvageReport {
	r := SalvageReport{
		Copied: salvageCounts(s.Copied), Lost: salvageCounts(s.Lost), LostPages: s.Pages, Omitted: s.Omitted, Doubts: s.Doubts,
		LostMessages: s.Numbers[store.Live], LostDeadLetters: s.Numbers[store.Dead],
	}
	for _, f := range s.Faults {
		r.Findings = append(r.Findings, Finding{FindingKind(f.Kind), f.Where, f.Text})
	}
	return r
}

func salvageCounts(c store.SalvageCounts) SalvageCounts {
	return SalvageCounts{c.Messages, c.DeadLetters, c.Objects, c.Operations, c.Reservations, c.Events, c.AppKeys}
}
