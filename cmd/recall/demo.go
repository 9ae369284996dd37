package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
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
	once               bool
	delayed, immediate int
	receiver           *receiver
	acks               *acknowledged
}

// demoLabels of ten make the label that is cancelled: with 100,000 delayed
// messages 40,000 have it.
const (
	demoLabels = 10
	demoTaken  = 4
	badLabel   = "deploy-42"
)

func demoCommand() *cobra.Command {
	d := &demo{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Publish, deliver, cancel by filter, crash, reopen – then stay up as recall dev",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return d.run(cmd) },
	}
	d.flags(cmd, "127.0.0.1:8080")
	cmd.Flags().BoolVar(&d.once, "once", false, "exit after the check, instead of staying up")
	cmd.Flags().IntVar(&d.delayed, "delayed", 100_000, "delayed messages to publish")
	cmd.Flags().IntVar(&d.immediate, "immediate", 1_000, "immediate messages to publish and deliver")
	return cmd
}

func (d *demo) run(cmd *cobra.Command) error {
	d.out, d.log = cmd.OutOrStdout(), slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	if d.db == "" {
		dir, err := os.MkdirTemp("", "recall-demo-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		d.db = filepath.Join(dir, "demo.db")
	}
	if _, err := os.Stat(d.db); err == nil {
		return fmt.Errorf("%s exists; the demo wants a fresh file", d.db)
	}
	d.say("A fresh file: %s", d.db)
	var err error
	if d.receiver, err = startReceiver(); err != nil {
		return err
	}
	defer d.receiver.close()
	d.acks = &acknowledged{}
	if err := d.watchChild(cmd.Context()); err != nil {
		return err
	}
	return d.afterCrash(cmd.Context())
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// afterCrash reopens the file, checks it, and stays up on it.
func (d *demo) afterCrash(ctx context.Context) error {
	d.say("\nReopening the file that the process left behind.")
	begun := time.Now()
	broker, err := recall.Open(d.db, &recall.Options{OnRequest: qstash.OnRequest, Logger: d.log})
	if err != nil {
		return err
	}
	d.say("  open after the kill: %v", time.Since(begun).Round(time.Millisecond))
	err = d.verify(ctx, broker)
	if err == nil && !d.once {
		err = d.stayUp(ctx, broker)
	}
	return errors.Join(err, closeBroker(broker))
}

// stayUp serves the file as recall dev does, on a free port if the usual one
// is taken.
func (d *demo) stayUp(ctx context.Context, broker *recall.Broker) error {
	d.say("")
	if l, err := net.Listen("tcp", d.listen); err != nil {
		d.say("%s is taken; using a free port.", d.listen)
		d.listen = "127.0.0.1:0"
	} else {
		_ = l.Close() // it is opened again in a moment
	}
	return d.serve(ctx, broker, func(url string) { printCurl(d.out, url, d.receiver.url()) })
}

// printCurl prints requests that work on the demo's file as it is.
func printCurl(out io.Writer, url, receiver string) {
	auth := "-H 'Authorization: Bearer " + qstash.DevToken + "'"
	fmt.Fprintf(out, `Try, in another terminal:

  publish      curl -sS -X POST %[1]s -d 'hello' '%[2]s/v2/publish/%[3]s/hello'
  count        curl -sS -X POST %[1]s -d '{"label":"deploy-41"}' '%[2]s/recall/v1/count'
  bulk cancel  curl -sS -X DELETE %[1]s -d '{"label":"deploy-41","queueName":"mail"}' '%[2]s/v2/messages'

Stop with Ctrl-C.
`, auth, url, receiver)
}
