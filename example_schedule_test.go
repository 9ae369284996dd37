package recall_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

// A report on each working day at half past six, and what a malformed line gets.
func ExampleBroker_SetSchedule() {
	clock := &handClock{now: time.Date(2026, 3, 27, 12, 0, 0, 0, time.UTC)} // a Friday
	b, err := recall.New(enginetest.NewReference(), &recall.Options{Clock: clock})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	defer b.Close(ctx)

	s, err := b.SetSchedule(ctx, recall.Schedule{
		ID:      "report",
		Cron:    "CRON_TZ=Europe/Berlin 30 6 * * MON-FRI",
		Message: recall.Message{URL: "https://reports.example.com/daily"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("next:", s.Next.Format(time.RFC1123)) // summer time has begun

	if err := b.PauseSchedule(ctx, s.ID); err != nil {
		log.Fatal(err)
	}
	s, err = b.Schedule(ctx, "report")
	fmt.Println("paused:", s.Paused, s.Next.IsZero(), err)

	s.Cron = "30 6 * * MON-FRY"
	_, err = b.SetSchedule(ctx, s)
	fmt.Println(errors.Is(err, recall.ErrInvalid), err)
	// Output:
	// next: Mon, 30 Mar 2026 04:30:00 UTC
	// paused: true true <nil>
	// true recall: invalid Cron: at byte 13, day of week: "FRY": it is neither a number nor a name such as mon
}
