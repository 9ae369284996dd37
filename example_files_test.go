package recall_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/recallmq/recall"
)

// exampleFile makes a file with three messages.
func exampleFile() (path string, remove func()) {
	dir, err := os.MkdirTemp("", "recall")
	if err != nil {
		log.Fatal(err)
	}
	path = filepath.Join(dir, "queue.db")
	b, err := recall.Open(path, &recall.Options{NoDispatch: true})
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		if _, err := b.Publish(context.Background(), recall.Message{URL: "https://example.com/x", Delay: time.Hour}); err != nil {
			log.Fatal(err)
		}
	}
	if err := b.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
	return path, func() { _ = os.RemoveAll(dir) }
}

// A copy is taken while the broker works; it opens as any file does.
func ExampleBroker_Backup() {
	ctx := context.Background()
	path, remove := exampleFile()
	defer remove()
	b, err := recall.Open(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close(ctx)

	f, err := os.Create(path + ".backup")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Backup(ctx, f); err != nil {
		log.Fatal(err)
	}
	if err := f.Sync(); err != nil { // Backup knows of no disk
		log.Fatal(err)
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}

	report, err := recall.Check(ctx, path+".backup", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.OK(), report.Live())
	// Output: true 3
}

func ExampleCheck() {
	path, remove := exampleFile()
	defer remove()
	report, err := recall.Check(context.Background(), path, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, finding := range report.Findings {
		fmt.Println(finding)
	}
	fmt.Println(report.Messages[recall.StateDelayed], "are delayed, findings:", len(report.Findings))
	// Output: 3 are delayed, findings: 0
}

func ExampleCompact() {
	path, remove := exampleFile()
	defer remove()
	report, err := recall.Compact(context.Background(), path, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.BytesAfter < report.BytesBefore)
	// Output: true
}

func ExampleSalvage() {
	path, remove := exampleFile()
	defer remove()
	report, err := recall.Salvage(context.Background(), path, path+".salvaged", nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Complete(), report.Copied.Messages)
	// Output: true 3
}
