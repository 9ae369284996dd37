package main

import "runtime/metrics"

// processor is how much processor time this process has used, and how much of that
// collecting garbage, in seconds, as of the last collection.
type processor struct{ used, collecting float64 }

func readProcessor() processor {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}, {Name: "/cpu/classes/gc/total:cpu-seconds"},
	}
	metrics.Read(samples)
	value := func(i int) float64 {
		if samples[i].Value.Kind() != metrics.KindFloat64 {
			return 0
		}
		return samples[i].Value.Float64()
	}
	return processor{used: value(0) - value(1), collecting: value(2)}
}

// noteCollector tells what share of the processor went to the collector of garbage since
// then. What the peers of a workload allocate in this process is part of it.
func (b *bench) noteCollector(since processor) {
	now := readProcessor()
	if used := now.used - since.used; used > 0 {
		b.report.note("the collector of garbage took %.0f %% of the processor time of this process", 100*(now.collecting-since.collecting)/used)
	}
}
