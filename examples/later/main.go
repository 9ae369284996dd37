// Later is a program of one binary that does things later: it reads lines such
// as "10m tea is ready", and prints the text when its time has come, also when it
// was stopped and started in between. "drop tea" takes back what names tea.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/recallmq/recall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b, err := open("later.db", os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		if err := read(ctx, b, os.Stdin, os.Stdout); err != nil {
			log.Print(err)
		}
	}()
	<-ctx.Done() // the end of the input is no reason to stop: something may be due
	if err := shut(b); err != nil {
		log.Fatal(err)
	}
}

// open opens the file and prints what is due. What became due while nobody had
// the file open is printed at once.
func open(path string, out io.Writer) (*recall.Broker, error) {
	b, err := recall.Open(path, nil)
	if err != nil {
		return nil, err
	}
	err = b.Handle("local:print", func(_ context.Context, d *recall.Delivery) error {
		_, err := fmt.Fprintf(out, "%s\n", d.Body)
		return err // nil: it is delivered, and gone
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// read takes lines until there are no more.
func read(ctx context.Context, b *recall.Broker, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		first, rest, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		var err error
		switch first {
		case "":
			continue
		case "drop":
			err = drop(ctx, b, out, rest)
		default:
			err = later(ctx, b, first, rest)
		}
		if err != nil {
			fmt.Fprintln(out, err) // of this line; others may be right
		}
	}
	return lines.Err()
}

// later publishes a text for a time to come. It is on the disk when it returns.
// The words of the text are labels, by which it can be found.
func later(ctx context.Context, b *recall.Broker, delay, text string) error {
	d, err := time.ParseDuration(delay)
	if err != nil {
		return err
	}
	_, err = b.Publish(ctx, recall.Message{
		URL: "local:print", Body: []byte(text), Delay: d, Labels: strings.Fields(text),
	})
	return err
}

// drop takes back what has a word in its text.
func drop(ctx context.Context, b *recall.Broker, out io.Writer, word string) error {
	result, err := b.CancelMatching(ctx, recall.Filter{Labels: []string{word}})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "dropped: %d\n", result.Cancelled)
	return err
}

// shut lets what is printed just now end, and closes the file.
func shut(b *recall.Broker) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return b.Close(ctx)
}
