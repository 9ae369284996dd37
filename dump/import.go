package dump

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"github.com/recallmq/recall"
)

const (
	marksBucket = "recall/import" // id of a dump → how many of its lines are in
	batchLines  = 1000
	batchBytes  = 4 << 20
	// maxLine bounds a line: body and response of a dead letter in base64, and its
	// headers as JSON may spell them.
	maxLine = 96 << 20
)

// Report is what an import has stored. The rest was there already.
type Report struct {
	Counts
	// Resumed is how many lines an earlier call has imported, which were passed over.
	Resumed int
	// Lines are those of the dump.
	Lines int
}

// Import stores a dump in an engine. Each thousand lines or so are one durable unit,
// with a mark of how far that is: an import that was interrupted goes on there, and one
// that is done imports nothing, also when messages of it are gone since. What the engine
// has already stays as it is: messages of the same id, objects of the same name, signing
// keys. Memory does not grow with the dump.
//
// Two dumps of one queue are two: the second adds its dead letters again.
//
// Errors: [ErrDump], with the line; [recall.ErrUnsupported] for an engine that is no
// [recall.Importer]; those of [recall.Importer], of r and of ctx. Safe for
// concurrent use, but for two imports of one dump at the same time.
func Import(ctx context.Context, e recall.Engine, r io.Reader, now time.Time, progress Progress) (Report, error) {
	i := &importing{ctx: ctx, e: e, in: bufio.NewReaderSize(r, 1<<16), now: now, progress: progress}
	var ok [2]bool
	i.to, ok[0] = e.(recall.Importer)
	i.tx, ok[1] = e.(recall.Transactor)
	if !ok[0] || !ok[1] {
		return Report{}, recall.ErrUnsupported
	}
	err := i.all()
	i.report.Lines = i.n
	return i.report, err
}

// importing is one call.
type importing struct {
	ctx      context.Context
	e        recall.Engine
	to       recall.Importer
	tx       recall.Transactor
	in       *bufio.Reader
	now      time.Time
	progress Progress
	read     int64 // bytes

	id     string // of the dump
	n      int    // lines that were read
	skip   int    // of those, lines that an earlier call has imported
	size   int    // of the batch
	batch  recall.Import
	report Report
	counts Counts // of the lines
	ended  bool
}

func (i *importing) all() error {
	if err := i.begin(); err != nil {
		return err
	}
	for !i.ended {
		text, err := i.next()
		if err != nil {
			return err
		}
		l, err := parse(text)
		if err == nil {
			err = i.take(l, len(text))
		}
		if err != nil {
			return i.fault(err)
		}
	}
	if text, err := i.next(); len(text) > 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		return i.fault(errors.New("there is more behind the end"))
	}
	i.n--
	return nil
}

// fault names the line of an error that is about it.
func (i *importing) fault(err error) error {
	if own := (*engineError)(nil); errors.As(err, &own) {
		return own.error
	}
	return fmt.Errorf("%w: line %d: %w", ErrDump, i.n, err)
}

// engineError is one that the line is not to blame for.
type engineError struct{ error }

// next reads a line. A dump that is cut short ends without one.
func (i *importing) next() (text []byte, err error) {
	if err := i.ctx.Err(); err != nil {
		return nil, err
	}
	i.n++
	for {
		part, err := i.in.ReadSlice('\n')
		text = append(text, part...)
		i.read += int64(len(part))
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(text) <= maxLine:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			return text, i.fault(errors.New("it is too long"))
		case errors.Is(err, io.EOF):
			return text, fmt.Errorf("%w: it ends at line %d: %w", ErrDump, i.n, io.ErrUnexpectedEOF)
		}
		if i.progress != nil && i.n%64 == 0 {
			i.progress(i.read, 0)
		}
		return text, err
	}
}

// begin reads the first line, and how far an earlier call came.
func (i *importing) begin() error {
	text, err := i.next()
	if err != nil {
		return err
	}
	// That of a newer format may have more in it.
	var first struct {
		Dump *header `json:"dump"`
	}
	switch err := json.Unmarshal(text, &first); {
	case err != nil || first.Dump == nil || first.Dump.ID == "" || len(first.Dump.ID) > 64:
		return i.fault(errors.New("it does not begin like one"))
	case first.Dump.Version != Version:
		return i.fault(fmt.Errorf("it has version %d of the format; this Recall reads version %d", first.Dump.Version, Version))
	}
	i.id = first.Dump.ID
	mark, err := i.tx.Lookup(i.ctx, marksBucket, []byte(i.id))
	if err != nil || mark == nil {
		return err
	}
	i.skip, err = strconv.Atoi(string(mark))
	i.report.Resumed = max(0, i.skip-1)
	return err
}

// take has a line wait for its batch, or does what it says.
func (i *importing) take(l *line, size int) error {
	i.count(l)
	if l.End != nil {
		if *l.End != i.counts {
			return fmt.Errorf("it should have %+v, and has %+v", *l.End, i.counts)
		}
		i.ended = true
		return i.flush()
	}
	if i.n <= i.skip {
		return nil
	}
	if err := i.add(l); err != nil {
		return err
	}
	if i.size += size; i.size < batchBytes && len(i.batch.Messages)+len(i.batch.Dead)+len(i.batch.Objects) < batchLines {
		return nil
	}
	return i.flush()
}

func (i *importing) count(l *line) {
	switch {
	case l.Object != nil:
		i.counts.Objects++
	case l.Standing != nil:
		i.counts.Standing++
	case l.Row != nil:
		i.counts.Rows++
	case l.Message != nil:
		i.counts.Messages++
	case l.Dead != nil:
		i.counts.Dead++
	}
}

func (i *importing) add(l *line) error {
	switch {
	case l.Object != nil:
		o, err := l.Object.object()
		i.batch.Objects = append(i.batch.Objects, o)
		return err
	case l.Standing != nil:
		return i.cancel(l.Standing)
	case l.Row != nil:
		return i.put(l.Row)
	case l.Message != nil:
		m, err := l.Message.message()
		i.batch.Messages = append(i.batch.Messages, m)
		return err
	case l.Dead != nil:
		d, err := l.Dead.dead()
		i.batch.Dead = append(i.batch.Dead, d)
		return err
	}
	return errLine
}

// flush stores the batch, and how far that is.
func (i *importing) flush() error {
	if i.n <= i.skip {
		return nil
	}
	i.batch.Now = i.now
	i.batch.Mark.Bucket, i.batch.Mark.Key, i.batch.Mark.Value = marksBucket, []byte(i.id), []byte(strconv.Itoa(i.n))
	stored, err := i.to.Import(i.ctx, i.batch)
	if errors.Is(err, recall.ErrInvalid) && !errors.Is(err, recall.ErrUnsupported) {
		return err
	}
	if err != nil {
		return &engineError{err}
	}
	i.report.Objects += stored.Objects
	i.report.Messages += stored.Messages
	i.report.Dead += stored.Dead
	i.batch, i.size = recall.Import{}, 0
	return nil
}

// cancel makes a standing cancellation, unless there is one like it: it is no part of
// a batch, and an import that goes on may come here twice.
func (i *importing) cancel(s *standing) error {
	stander, ok := i.e.(recall.Stander)
	if !ok {
		return &engineError{recall.ErrUnsupported}
	}
	if s.Filter.IsZero() || !s.Until.After(i.now) {
		return nil // it has ended meanwhile
	}
	list, err := stander.StandingCancellations(i.ctx, i.now)
	if err != nil {
		return &engineError{err}
	}
	if slices.ContainsFunc(list, func(have recall.StandingCancellation) bool { return have.Active(i.now) && s.is(&have) }) {
		return nil
	}
	if _, err := stander.CancelFuture(i.ctx, s.Filter, s.Until, s.Reason, i.now); err != nil {
		return &engineError{err}
	}
	i.report.Standing++
	return nil
}

// is tells whether two say the same.
func (s *standing) is(have *recall.StandingCancellation) bool {
	a, err := json.Marshal(s.Filter)
	b, err2 := json.Marshal(have.Filter)
	return err == nil && err2 == nil && string(a) == string(b) && s.Reason == have.Reason && s.Until.Equal(have.Until)
}

// put stores a row, unless there is one.
func (i *importing) put(r *row) error {
	if r.Bucket != keysBucket || string(r.Key) != keysKey {
		return fmt.Errorf("there are no rows of bucket %q in a dump", r.Bucket)
	}
	err := i.tx.Update(i.ctx, func(tx recall.EngineTx) error {
		bucket, err := tx.Bucket(r.Bucket)
		if err != nil || bucket.Get(r.Key) != nil {
			return err
		}
		i.report.Rows++
		return bucket.Put(r.Key, r.Value)
	})
	if err != nil {
		return &engineError{err}
	}
	return nil
}
