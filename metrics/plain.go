package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/recallmq/recall"
)

// plainMetric is a counter or a gauge that [recall.Stats] has.
type plainMetric struct {
	metric
	kind  prometheus.ValueType
	label string // name of the only label; empty: none
	read  func(*recall.Stats) []sample
	desc  *prometheus.Desc
}

// sample is a value, of a label if its metric has one.
type sample struct {
	label string
	value float64
}

func (m plainMetric) describe(d describer) plainMetric {
	if m.label == "" {
		m.desc = d(m.metric)
	} else {
		m.desc = d(m.metric, m.label)
	}
	return m
}

func (m plainMetric) collect(ch chan<- prometheus.Metric, s *recall.Stats) {
	for _, v := range m.read(s) {
		if m.label == "" {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v.value)
		} else {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v.value, v.label)
		}
	}
}

// counterOf and gaugeOf are metrics without labels.
func counterOf(name, help string, read func(*recall.Stats) int64) plainMetric {
	return plainMetric{metric: metric{name, help}, kind: prometheus.CounterValue, read: func(s *recall.Stats) []sample {
		return []sample{{value: float64(read(s))}}
	}}
}

func gaugeOf(name, help string, read func(*recall.Stats) float64) plainMetric {
	return plainMetric{metric: metric{name, help}, kind: prometheus.GaugeValue, read: func(s *recall.Stats) []sample {
		return []sample{{value: read(s)}}
	}}
}

// plainMetrics are in the order of docs/metrics.md.
var plainMetrics = []plainMetric{
	counterOf("messages_published_total", "Messages published, callbacks and what schedules publish included.",
		func(s *recall.Stats) int64 { return s.Published }),
	counterOf("messages_duplicate_total", "Messages that were not stored because they were duplicates.",
		func(s *recall.Stats) int64 { return s.Duplicates }),
	counterOf("messages_cancelled_total", "Messages that a cancellation has ended.",
		func(s *recall.Stats) int64 { return s.Cancelled }),
	counterOf("messages_restored_total", "Cancelled messages that an undo has brought back.",
		func(s *recall.Stats) int64 { return s.Restored }),
	counterOf("messages_dead_total", "Messages that became dead letters.",
		func(s *recall.Stats) int64 { return s.Died }),
	{
		metric: metric{"attempts_total", "Attempts that are over, by outcome: delivered or failed."},
		kind:   prometheus.CounterValue, label: "outcome",
		read: func(s *recall.Stats) []sample {
			return []sample{{"delivered", float64(s.Delivered)}, {"failed", float64(s.Failed)}}
		},
	},
	counterOf("retries_total", "Failed attempts that another one was to follow.",
		func(s *recall.Stats) int64 { return s.Retried }),
	counterOf("leases_expired_total", "Leases of consumers that ran out.",
		func(s *recall.Stats) int64 { return s.LeasesExpired }),
	counterOf("dead_letters_dropped_total", "Dead letters dropped by age or by number.",
		func(s *recall.Stats) int64 { return s.DeadLettersDropped }),
	counterOf("commits_total", "Durable commits.", func(s *recall.Stats) int64 { return s.Commits }),
	counterOf("errors_total", "Errors that the broker has logged.", func(s *recall.Stats) int64 { return s.Errors }),

	gaugeOf("messages_pending", "Live messages that no attempt has: they can be cancelled.",
		func(s *recall.Stats) float64 { return float64(s.Pending) }),
	gaugeOf("messages_in_flight", "Messages that an attempt or a consumer has.",
		func(s *recall.Stats) float64 { return float64(s.InFlight) }),
	gaugeOf("dead_letters", "Messages in the dead letter queue.",
		func(s *recall.Stats) float64 { return float64(s.DeadLetters) }),
	gaugeOf("slots", "Attempts that may run at once.", func(s *recall.Stats) float64 { return float64(s.Slots) }),
	gaugeOf("slots_busy", "Attempts that run now.", func(s *recall.Stats) float64 { return float64(s.Busy) }),
	gaugeOf("slots_settling", "Busy slots whose attempt is over and waits for its outcome to be durable.",
		func(s *recall.Stats) float64 { return float64(s.Settling) }),
	gaugeOf("leases", "Messages that consumers hold.", func(s *recall.Stats) float64 { return float64(s.Leased) }),
	gaugeOf("changes_waiting", "Changes that are not durable yet: they wait for a commit, or are in it.",
		func(s *recall.Stats) float64 { return float64(s.Waiting) }),
	gaugeOf("file_size_bytes", "Size of the file.", func(s *recall.Stats) float64 { return float64(s.FileBytes) }),
	gaugeOf("file_free_bytes", "Room in the file that can be used again.",
		func(s *recall.Stats) float64 { return float64(s.FreeBytes) }),
	gaugeOf("file_limit_bytes", "Largest size of the file; 0 if there is no limit.",
		func(s *recall.Stats) float64 { return float64(s.FileLimit) }),
	gaugeOf("segments", "Segments of messages in the file.", func(s *recall.Stats) float64 { return float64(s.Segments) }),
	gaugeOf("upkeep_backlog_messages", "Cancelled or finished messages that background work has still to fold.",
		func(s *recall.Stats) float64 { return float64(s.Backlog) }),
	gaugeOf("undoable_cancellations", "Parts of bulk cancellations that can still be undone.",
		func(s *recall.Stats) float64 { return float64(s.Undoable) }),
	gaugeOf("undo_bytes", "What these hold, in file and memory.", func(s *recall.Stats) float64 { return float64(s.UndoBytes) }),
	gaugeOf("deduplication_ids", "Deduplication ids that are reserved.",
		func(s *recall.Stats) float64 { return float64(s.DeduplicationIDs) }),
	gaugeOf("events", "Events in the log.", func(s *recall.Stats) float64 { return float64(s.Events) }),
	gaugeOf("clock_clamp_seconds", "Largest step back of the clock that ids have absorbed.",
		func(s *recall.Stats) float64 { return s.ClockClamp.Seconds() }),
	gaugeOf("longest_update_seconds", "Longest time that a transaction has kept everybody waiting.",
		func(s *recall.Stats) float64 { return s.LongestUpdate.Seconds() }),
	gaugeOf("broken", "1 after a commit has failed: every change is refused until the file is opened again.",
		func(s *recall.Stats) float64 { return oneIf(s.Broken) }),
	gaugeOf("last_error_timestamp_seconds", "When the broker last logged an error, in seconds since 1970; 0 if it has not.",
		func(s *recall.Stats) float64 { return unixSeconds(s.LastError.At) }),
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// histogramMetric is a histogram that [recall.Stats] has.
type histogramMetric struct {
	metric
	read func(*recall.Stats) recall.Histogram
	desc *prometheus.Desc
}

var histogramMetrics = []histogramMetric{
	{
		metric: metric{"publish_duration_seconds", "Time from the call of a publish until its messages were durable."},
		read:   func(s *recall.Stats) recall.Histogram { return s.PublishTime },
	},
	{
		metric: metric{"delivery_lateness_seconds", "Time from when an attempt was due until it began."},
		read:   func(s *recall.Stats) recall.Histogram { return s.Lateness },
	},
	{
		metric: metric{"attempt_duration_seconds", "Time that attempts took, leases of consumers included."},
		read:   func(s *recall.Stats) recall.Histogram { return s.AttemptTime },
	},
	{
		metric: metric{"commit_duration_seconds", "Time from the first row of a commit until it was durable."},
		read:   func(s *recall.Stats) recall.Histogram { return s.CommitTime },
	},
	{
		metric: metric{"commit_write_duration_seconds", "Part of a commit that wrote to the disk, syncs included."},
		read:   func(s *recall.Stats) recall.Histogram { return s.WriteTime },
	},
	{
		metric: metric{"commit_rows", "Rows that the changes brought that shared a commit."},
		read:   func(s *recall.Stats) recall.Histogram { return s.CommitRows },
	},
}

// collect adds the buckets up, as Prometheus wants them. An engine that does not
// measure has none, and no series.
func (m histogramMetric) collect(ch chan<- prometheus.Metric, s *recall.Stats) {
	h := m.read(s)
	if h.Bounds == nil {
		return
	}
	buckets := make(map[float64]uint64, len(h.Bounds))
	total := uint64(0)
	for i, bound := range h.Bounds {
		total += uint64(h.Counts[i])
		buckets[bound] = total
	}
	total += uint64(h.Counts[len(h.Bounds)])
	ch <- prometheus.MustNewConstHistogram(m.desc, total, h.Sum, buckets)
}
