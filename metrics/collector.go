package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/recallmq/recall"
)

// Options of a [Collector]. The zero value of every field means its default, and a nil
// *Options is all defaults.
type Options struct {
	// ConstLabels are put on every metric, to tell several brokers of one process
	// apart. Default none.
	ConstLabels prometheus.Labels
	// Queues are exported by name, in whatever state they are, as long as they exist.
	Queues []string
	// TopQueues is how many queues are exported besides: those in which the most
	// messages wait. A queue that drops out of them has no series until it is back.
	// Default 20, at most [MaxTopQueues]; negative: none.
	TopQueues int
	// CountInterval is how old the numbers of messages by state and by queue may be
	// that a scrape is answered with; older ones are counted anew. Default 10 s;
	// negative: these metrics are left out.
	CountInterval time.Duration
}

// Defaults and bounds of Options.
const (
	DefaultTopQueues     = 20
	MaxTopQueues         = 1000
	DefaultCountInterval = 10 * time.Second
)

func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if c.TopQueues == 0 {
		c.TopQueues = DefaultTopQueues
	}
	c.TopQueues = min(max(0, c.TopQueues), MaxTopQueues)
	if c.CountInterval == 0 {
		c.CountInterval = DefaultCountInterval
	}
	return c
}

// Collector is a [prometheus.Collector] of one broker. It is safe for concurrent use,
// and answers after the broker was closed, then without what it would have to count.
type Collector struct {
	broker  *recall.Broker
	plain   []plainMetric
	spread  []histogramMetric
	counts  countMetrics
	counter *counter
}

// NewCollector returns a collector of b, which must not be nil. Labels that Prometheus
// does not allow are an error of the registry that it is registered with. Two
// collectors in one registry need different ConstLabels.
func NewCollector(b *recall.Broker, opts *Options) *Collector {
	o := opts.withDefaults()
	describe := func(m metric, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+m.name, m.help, labels, o.ConstLabels)
	}
	c := &Collector{broker: b, counts: newCountMetrics(describe), counter: newCounter(b, &o)}
	for _, m := range plainMetrics {
		c.plain = append(c.plain, m.describe(describe))
	}
	for _, m := range histogramMetrics {
		m.desc = describe(m.metric)
		c.spread = append(c.spread, m)
	}
	return c
}

// namespace starts the name of every metric.
const namespace = "recall_"

// metric is what all kinds have.
type metric struct{ name, help string }

// describer makes descriptions with the labels of a collector.
type describer func(m metric, labels ...string) *prometheus.Desc

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.plain {
		ch <- m.desc
	}
	for _, m := range c.spread {
		ch <- m.desc
	}
	if c.counter.on() {
		c.counts.describe(ch)
	}
}

// Collect implements [prometheus.Collector].
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	s := c.broker.Stats()
	for _, m := range c.plain {
		m.collect(ch, &s)
	}
	for _, m := range c.spread {
		m.collect(ch, &s)
	}
	if c.counter.on() {
		c.counts.collect(ch, c.counter.get())
	}
}

// stateLabel is a state as the value of a label.
func stateLabel(s recall.State) string { return strings.ReplaceAll(string(s), " ", "_") }
