package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"

	"github.com/recallmq/recall/metrics"
)

func (s *server) addMetricsFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.metricsAddress, "metrics-addr", "",
		"address with GET /metrics for Prometheus, which needs no token: keep it where only that can connect")
}

// withMetrics serves what Prometheus reads while run does the rest. It listens first:
// an address that is taken is no reason to create a file.
func (s *server) withMetrics(ctx context.Context, run func(context.Context) error) error {
	if s.metricsAddress == "" {
		return run(ctx)
	}
	l, err := net.Listen("tcp", s.metricsAddress)
	if err != nil {
		return listenErrorOf("--metrics-addr", s.metricsAddress, err)
	}
	const patience = 10 * time.Second // for a header, and for an answer
	web := &http.Server{
		Handler: s.metricsHandler(), ReadHeaderTimeout: patience, WriteTimeout: 6 * patience, IdleTimeout: 6 * patience,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("metrics are not served any more", "error", err)
		}
	}()
	s.log.Info("metrics are at /metrics", "address", l.Addr().String())
	err = run(ctx)
	_ = web.Close() // a scrape that runs is cut off: there will be no more
	<-served
	return err
}

// metricsHandler answers when the files of all users are open, and says 503 before.
func (s *server) metricsHandler() http.Handler {
	open := sync.OnceValue(func() http.Handler {
		r := s.metricsRegistry()
		return promhttp.HandlerFor(r, promhttp.HandlerOpts{Registry: r})
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		if s.state.get() == starting {
			http.Error(w, "starting", http.StatusServiceUnavailable)
			return
		}
		open().ServeHTTP(w, r)
	})
	return mux
}

// metricsRegistry has the metrics of every user and of the process.
func (s *server) metricsRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, u := range s.users {
		var labels prometheus.Labels
		if u.name != "" {
			labels = prometheus.Labels{"user": u.name}
		}
		r.MustRegister(metrics.NewCollector(u.broker, &metrics.Options{ConstLabels: labels}))
	}
	return r
}
