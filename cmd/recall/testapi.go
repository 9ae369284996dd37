package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/recallmq/recall/qstash"
	"github.com/recallmq/recall/recalltest"
)

// runTestAPI serves a queue for test suites in other languages: its clock stands
// still until they move it, and nothing is kept. Servers of this machine are
// reached, others only where an endpoint says so.
func (d *dev) runTestAPI(ctx context.Context) (err error) {
	if d.db != "" {
		return usagef("--test-api keeps nothing, and --db names a file to keep")
	}
	if len(d.routeTexts) > 0 {
		return usagef("with --test-api an endpoint is told to forward, and --route means nothing")
	}
	in, err := openDoors(d.listen, d.log)
	if err != nil {
		return err
	}
	token := cmp.Or(d.token, qstash.DevToken)
	fake, err := recalltest.Start(recalltest.NoListener(), recalltest.Loopback(), recalltest.Token(token), recalltest.Log(d.log))
	if err != nil {
		in.close()
		return err
	}
	defer func() { err = errors.Join(err, fake.Close()) }()
	web := &http.Server{
		Handler: withHealth(fake.Handler(), &d.server), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: d.limits.maxHeader,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, len(in))
	d.state.set(serving)
	for i, l := range in {
		in[i] = qstash.Listener(web, l)
	}
	for _, l := range in {
		go func() { failed <- web.Serve(l) }() // ends with Close
	}
	d.say("Recall is running at %s", in.url())
	d.say("\n  QSTASH_URL=%s\n  QSTASH_TOKEN=%s\n  QSTASH_CURRENT_SIGNING_KEY=%s\n  QSTASH_NEXT_SIGNING_KEY=%s\n",
		in.url(), token, qstash.DevCurrentSigningKey, qstash.DevNextSigningKey)
	d.say("It is for tests: the clock stands still until %s/recall/v1/test/clock/advance is called, and nothing is kept.", in.url())
	select {
	case err = <-failed:
	case <-ctx.Done():
	}
	return errors.Join(err, web.Close())
}
