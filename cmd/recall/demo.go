package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// demo does the main job in front of the user: a child process publishes,
// delivers and cancels; this one receives, kills the child while it is busy,
// and checks what the file has kept.
type demo struct {
	server
	once     bool
	size     demoSize
	receiver *receiver
	acks     *acknowledged
}

// demoSize says how many messages there are.
type demoSize struct {
	delayed, immediate int
	cancel             int // of delayed; less than 0: two of five
}

// validate fills in what was not said. The lower bounds leave something to
// show for each step.
func (s *demoSize) validate() error {
	if s.cancel < 0 {
		s.cancel = s.delayed * 2 / 5
	}
	switch {
	case s.delayed < 100:
		return usagef("--delayed %d: the demo needs 100 or more", s.delayed)
	case s.immediate < 1:
		return usagef("--immediate %d: the demo needs 1 or more", s.immediate)
	case s.cancel < 1 || s.cancel > s.delayed:
		return usagef("--cancel %d: not between 1 and the %d delayed messages", s.cancel, s.delayed)
	}
	return nil
}

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Publish, deliver, cancel by filter, crash, reopen – then stay up as recall dev",
		Long: `Show the main job. A process of its own publishes delayed and immediate messages,
delivers the immediate ones to a receiver on this machine, cancels many of the
delayed ones by one filter, goes on publishing, and is killed in the middle of
it. Then the file is opened again, and every message that the process had been
promised is looked for. All numbers are counted or measured.

In the end it stays up as recall dev on that file.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.size.validate(); err != nil {
				return err
			}
			if err := d.attach(cmd, slog.LevelWarn); err != nil {
				return err
			}
			return d.start(cmd.Context())
		},
	}
	d.addFlags(cmd, "file to create (default: a temporary one)", "token that requests must bear at the end (default: the public one)")
	cmd.Flags().BoolVar(&d.once, "once", false, "exit after the check, instead of staying up")
	cmd.Flags().IntVar(&d.size.delayed, "delayed", 100_000, "delayed messages to publish")
	cmd.Flags().IntVar(&d.size.immediate, "immediate", 1_000, "immediate messages to publish and deliver")
	cmd.Flags().IntVar(&d.size.cancel, "cancel", -1, "how many of the delayed messages to cancel (default two of five)")
	return cmd
}

// start takes a fresh file. A temporary one is removed at the end, unless it
// is the evidence of a failure.
func (d *demo) start(ctx context.Context) (err error) {
	if d.db == "" {
		remove, err := d.useTemporaryFile("demo")
		if err != nil {
			return err
		}
		defer func() {
			if errors.Is(err, errVerification) {
				d.say("The file is kept: %s", d.db)
				return
			}
			remove()
		}()
	} else if _, err := os.Lstat(d.db); err == nil {
		return fmt.Errorf("%s exists; the demo wants a fresh file", d.db)
	}
	d.showSecrets = true
	err = d.run(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errors.New("interrupted")
	}
	return err
}

func (d *demo) run(ctx context.Context) (err error) {
	d.say("A fresh file: %s", d.db)
	if d.receiver, err = startReceiver(); err != nil {
		return err
	}
	defer d.receiver.close()
	if d.acks, err = d.watchChild(ctx); err != nil {
		return err
	}
	sample, err := d.afterCrash(ctx)
	if err != nil || d.once {
		return err
	}
	return d.stayUp(ctx, sample)
}

// afterCrash opens the file that the process has left and checks it. Nothing
// is delivered meanwhile, so that what is counted stands still.
func (d *demo) afterCrash(ctx context.Context) (sample, error) {
	begun := time.Now()
	broker, err := recall.Open(d.db, &recall.Options{Logger: d.log, NoDispatch: true})
	if err != nil {
		return sample{}, err
	}
	d.say("\nOpened the file that it left behind, in %v.", time.Since(begun).Round(time.Microsecond))
	found, err := d.verify(ctx, broker)
	return found, errors.Join(err, closeBroker(broker))
}

// stayUp serves the file as recall dev does, on a free port if the wanted one
// is taken.
func (d *demo) stayUp(ctx context.Context, found sample) error {
	in, err := openDoors(d.listen, d.log)
	if errors.Is(err, errAddressInUse) {
		d.say("\n%s is taken by another program; using a free port.", d.listen)
		in, err = openDoors("127.0.0.1:0", d.log)
	}
	if err != nil {
		return err
	}
	d.users = devUsers(cmp.Or(d.token, qstash.DevToken), d.db)[:1] // there is one file to show
	if err := d.openUsers(); err != nil {
		in.close()
		return err
	}
	d.receiver.show(d.out)
	d.say("")
	err = d.serve(ctx, in, func() {
		d.announce(in)
		d.printCurl(in.url(), found)
	})
	return errors.Join(err, d.closeUsers())
}

func closeBroker(b *recall.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return b.Close(ctx)
}
