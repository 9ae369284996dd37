// Package metrics exports what a [recall.Broker] counts to Prometheus.
//
//	prometheus.MustRegister(metrics.NewCollector(b, nil))
//	http.Handle("/metrics", promhttp.Handler())
//
// Every scrape asks [recall.Broker.Stats] once, which takes some microseconds, and,
// not more often than Options.CountInterval, counts messages by state and by queue,
// which takes some milliseconds if there are many. docs/metrics.md lists the metrics;
// docs/grafana has a dashboard and alert rules that use them.
//
// It is a module of its own, so that linking Recall does not pull in the client of
// Prometheus.
package metrics
