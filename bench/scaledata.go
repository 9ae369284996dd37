package main

import (
	"fmt"
	"os"
	"time"

	"github.com/recallmq/recall"
)

// scaleData is one set of messages in two files: Recall's and SQLite's.
type scaleData struct {
	shape   shape
	created []time.Time // of the messages of each stretch, all of them distinct
	recall  *dataset
	sqlite  *dataset
}

// stretches is in how many batches the messages are published. Each has its own
// time, so that a range of dates can mean any number of stretches.
const stretches = 1000

// addressSpread is how many caller IPs these messages have. With the ten labels
// each pair is on every 1000th message.
const addressSpread = 100

// Labels of every 50th, 100th and 1000th message. No message has two of them.
const (
	mark50   = "every-50th"
	mark100  = "every-100th"
	mark1000 = "every-1000th-%d"
)

var (
	spreadAddresses = names(addressSpread, "192.0.2.%d")
	spreadLabels    = makeSpreadLabels()
)

func makeSpreadLabels() [][]string {
	const period = 1000
	sets := make([][]string, period)
	for i := range sets {
		sets[i] = []string{labelNames[labelOf(i)]}
		if mark := spreadMark(i); mark != "" {
			sets[i] = append(sets[i], mark)
		}
	}
	return sets
}

func spreadMark(i int) string {
	switch {
	case i%50 == 24:
		return mark50
	case i%100 == 49:
		return mark100
	case i%100 == 99:
		return fmt.Sprintf(mark1000, i/100%10)
	}
	return ""
}

func spreadAddress(i int) int { return i / labelCount % addressSpread }

// spread is the dress of the messages of scaleData.
func spread(i int, m *recall.Message) {
	m.Labels = spreadLabels[i%len(spreadLabels)]
	m.CallerIP = spreadAddresses[spreadAddress(i)]
}

// buildScale makes both files. A message has the same fields, times and body in
// both.
func (b *bench) buildScale(n int) (*scaleData, error) {
	d := &scaleData{shape: shape{n: n, due: later(time.Now()), dress: spread}}
	parts := []struct {
		file **dataset
		name string
		load func(path string) error
	}{{&d.recall, "recall.db", d.loadRecall}, {&d.sqlite, "sqlite.db", d.loadSQLite}}
	for _, p := range parts {
		b.progress("building %s with %s messages", p.name, short(float64(n)))
		set := &dataset{path: b.path(p.name), shape: d.shape}
		var err error
		if set.took, err = timed(func() error { return p.load(set.path) }); err != nil {
			return nil, err
		}
		info, err := os.Stat(set.path)
		if err != nil {
			return nil, err
		}
		set.bytes, *p.file = info.Size(), set
	}
	return d, nil
}

func (d *scaleData) remove() {
	for _, set := range []*dataset{d.recall, d.sqlite} {
		if set != nil {
			os.Remove(set.path)
		}
	}
}

// stretch returns the numbers of the messages of stretches from to to-1.
func (d *scaleData) stretch(from, to int) (first, end int) {
	return from * d.shape.n / stretches, to * d.shape.n / stretches
}

func (d *scaleData) loadRecall(path string) error {
	return withBroker(path, 0, func(br *recall.Broker) error {
		for k := range stretches {
			at, err := d.publishStretch(br, k)
			if err != nil {
				return err
			}
			d.created = append(d.created, at)
		}
		return checkPending(br, d.shape.n)
	})
}

// publishStretch waits for a new millisecond, so that no two stretches share
// their time.
func (d *scaleData) publishStretch(br *recall.Broker, k int) (at time.Time, err error) {
	for k > 0 && time.Now().UnixMilli() <= d.created[k-1].UnixMilli() {
		time.Sleep(pace / 10)
	}
	first, end := d.stretch(k, k+1)
	batch := make([]recall.Message, 0, end-first)
	for i := first; i < end; i++ {
		batch = append(batch, d.shape.message(i))
	}
	receipts, err := br.PublishBatch(bg, batch)
	if err != nil {
		return at, err
	}
	at = receipts[0].CreatedAt
	for _, r := range receipts {
		if !r.CreatedAt.Equal(at) {
			return at, fmt.Errorf("messages of one batch were published at %v and %v", at, r.CreatedAt)
		}
	}
	return at, nil
}

// scaleCase is one of the cancellations compared: that share of the messages,
// in that way.
type scaleCase struct {
	query
	share  int // one message in so many
	fields int
}

// scattered returns queries for messages all over the file, by one field and by
// two. Those of the shares 1000, 100 and 10 do not meet, so that one copy of
// the file serves all of them.
func (d *scaleData) scattered(share int) (one, two scaleCase) {
	all := make([]int, labelCount)
	for k := range all {
		all[k] = k
	}
	switch share {
	case 1000:
		return d.byMarked(share, fmt.Sprintf(mark1000, 0)), d.byLabelsAndAddresses(share, all[1:2], 1)
	case 100:
		return d.byMarked(share, mark100), d.byLabelsAndAddresses(share, all[2:3], addressSpread/10)
	case 50:
		return d.byMarked(share, mark50), d.byLabelsAndAddresses(share, all[1:2], addressSpread/5)
	case 10:
		return d.byLabels(share, all[:1]), d.byLabelsAndAddresses(share, all[3:8], addressSpread/5)
	}
	return d.byLabels(1, all), d.byLabelsAndAddresses(1, all, addressSpread)
}

func (d *scaleData) byMarked(share int, mark string) scaleCase {
	return scaleCase{query{"scattered, label", recall.Filter{Labels: []string{mark}}, func(i int) bool { return spreadMark(i) == mark }}, share, 1}
}

func (d *scaleData) byLabels(share int, labels []int) scaleCase {
	return scaleCase{query{
		"scattered, label",
		recall.Filter{Labels: labelNames[labels[0] : labels[0]+len(labels)]},
		func(i int) bool { return labelOf(i)-labels[0] >= 0 && labelOf(i)-labels[0] < len(labels) },
	}, share, 1}
}

func (d *scaleData) byLabelsAndAddresses(share int, labels []int, addresses int) scaleCase {
	c := d.byLabels(share, labels)
	labelled := c.match
	c.name, c.fields = "scattered, label and caller IP", 2
	c.filter.CallerIPs = spreadAddresses[:addresses]
	c.match = func(i int) bool { return labelled(i) && spreadAddress(i) < addresses }
	return c
}

// contiguous returns queries for messages that were published one after the
// other. With two fields the range of dates reaches beyond the queue, and the
// queue beyond the dates, so that neither alone would do.
func (d *scaleData) contiguous(share int) (one, two scaleCase) {
	const perQueue = stretches / queueCount
	part := stretches / share
	switch share {
	case 1000, 100, 50: // half of the dates before the queue begins
		queue := 2
		if share == 100 {
			queue = 4
		}
		begin := queue * perQueue
		return d.byDates(share, begin-2*perQueue+part, begin-2*perQueue+2*part),
			d.byQueueAndDates(share, queue, begin-part, begin+part)
	case 10:
		last := queueCount - 1
		return d.byQueues(share, last, last+1), d.byQueueAndDates(share, last-2, (last-3)*perQueue, (last-1)*perQueue)
	}
	two = d.byQueues(1, 0, queueCount)
	return d.byDates(1, 0, stretches), d.within(two, 0, stretches)
}

func (d *scaleData) byDates(share, from, to int) scaleCase {
	first, end := d.stretch(from, to)
	return scaleCase{query{
		"contiguous, date",
		recall.Filter{From: d.created[from], To: d.created[to-1]},
		func(i int) bool { return i >= first && i < end },
	}, share, 1}
}

func (d *scaleData) byQueues(share, from, to int) scaleCase {
	return scaleCase{query{
		"contiguous, queue",
		recall.Filter{Queues: queues[from:to]},
		func(i int) bool { q := d.shape.queueOf(i); return q >= from && q < to },
	}, share, 1}
}

func (d *scaleData) byQueueAndDates(share, queue, from, to int) scaleCase {
	return d.within(d.byQueues(share, queue, queue+1), from, to)
}

// within narrows a query by queue to a range of dates.
func (d *scaleData) within(c scaleCase, from, to int) scaleCase {
	dates := d.byDates(c.share, from, to)
	queued := c.match
	c.name, c.fields = "contiguous, queue and date", 2
	c.filter.From, c.filter.To = dates.filter.From, dates.filter.To
	c.match = func(i int) bool { return queued(i) && dates.match(i) }
	return c
}
