package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// limits bound what requests and deliveries may take.
type limits struct {
	maxBody, maxHeader        int
	headerTimeout             time.Duration
	readTimeout, writeTimeout time.Duration
	idleTimeout               time.Duration
	deliveryTimeout           time.Duration // of a message that does not say
	slots                     int
	rate                      float64 // requests a second for each token; 0: any number
	burst                     int     // 0: as many as rate
	drainDelay, shutdown      time.Duration
}

// patience is how long running requests, and after them running attempts, may
// go on after a signal.
const patience = 10 * time.Second

// defaultLimits have room for the line of a bulk cancellation that names about
// 100,000 ids, and for a large batch over a slow line.
var defaultLimits = limits{
	maxBody:         recall.DefaultMaxBody,
	maxHeader:       4 << 20,
	headerTimeout:   10 * time.Second,
	readTimeout:     2 * time.Minute,
	writeTimeout:    5 * time.Minute,
	idleTimeout:     2 * time.Minute,
	deliveryTimeout: recall.DefaultTimeout,
	slots:           recall.DefaultSlots,
	shutdown:        patience,
}

func (l *limits) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&l.maxBody, "max-body", l.maxBody, "largest body of a message, in bytes; at most 16 MiB")
	f.IntVar(&l.maxHeader, "max-header", l.maxHeader, "largest request line with headers, in bytes")
	f.DurationVar(&l.headerTimeout, "header-timeout", l.headerTimeout, "until the headers of a request have come")
	f.DurationVar(&l.readTimeout, "read-timeout", l.readTimeout, "until a request has come with its body")
	f.DurationVar(&l.writeTimeout, "write-timeout", l.writeTimeout, "until a request has been answered")
	f.DurationVar(&l.idleTimeout, "idle-timeout", l.idleTimeout, "until a connection that nobody uses is closed")
	f.DurationVar(&l.deliveryTimeout, "delivery-timeout", l.deliveryTimeout, "of an attempt, if the message does not say")
	f.IntVar(&l.slots, "slots", l.slots, "attempts at once, for each user")
	f.Float64Var(&l.rate, "rate", l.rate, "requests a second for each token, then 429; 0: any number")
	f.IntVar(&l.burst, "burst", l.burst, "requests of a token at once (default: those of a second)")
	f.DurationVar(&l.drainDelay, "drain-delay", l.drainDelay, "how long to serve on after SIGTERM while /readyz says no")
	f.DurationVar(&l.shutdown, "shutdown-timeout", l.shutdown, "how long requests, and after them attempts, may go on at the end")
}

// check refuses what cannot be meant. What the library checks is not repeated.
func (l *limits) check() error {
	for flag, d := range map[string]time.Duration{
		"header-timeout": l.headerTimeout, "read-timeout": l.readTimeout, "write-timeout": l.writeTimeout,
		"idle-timeout": l.idleTimeout, "delivery-timeout": l.deliveryTimeout, "shutdown-timeout": l.shutdown,
	} {
		if d <= 0 {
			return usagef("--%s %v: it has to be more than nothing", flag, d)
		}
	}
	for flag, n := range map[string]int{"max-body": l.maxBody, "max-header": l.maxHeader, "slots": l.slots} {
		if n <= 0 {
			return usagef("--%s %d: it has to be more than nothing", flag, n)
		}
	}
	switch {
	case l.drainDelay < 0:
		return usagef("--drain-delay %v: it is negative", l.drainDelay)
	case !(l.rate >= 0 && l.rate <= maxRate):
		return usagef("--rate %v: not between 0 and %d", l.rate, maxRate)
	case l.burst < 0:
		return usagef("--burst %d: it is negative", l.burst)
	case l.burst > 0 && l.rate == 0:
		return usagef("--burst needs --rate")
	}
	return nil
}

const maxRate = 1_000_000
