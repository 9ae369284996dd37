// Signups is a service that links a queue in: it stores its users and the mails
// that they are to get in one commit, delivers the mails itself, and takes back
// those of users who leave.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/recallmq/recall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:3000")
	if err != nil {
		log.Fatal(err)
	}
	if err := run(ctx, "signups.db", l, logMail); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx is done, and ends in order: requests first, then attempts,
// then the file.
func run(ctx context.Context, path string, l net.Listener, mail mailer) (err error) {
	b, err := recall.Open(path, &recall.Options{Slots: 16, Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, within(10*time.Second, b.Close)) }()

	s, err := newService(b, mail)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return within(10*time.Second, web.Shutdown)
	}
}

// within calls a function with a context that ends after d.
func within(d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return f(ctx)
}

// logMail stands for a mail service.
func logMail(_ context.Context, id recall.MessageID, to, text string) error {
	log.Printf("mail to %s: %s (%s)", to, text, id)
	return nil
}
