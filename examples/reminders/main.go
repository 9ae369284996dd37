// Reminders is a small service that leaves its waiting to a queue: it reminds
// customers of what they have not paid, and takes the reminders back when they
// have. Its tests are the point: they use package recalltest, in a
// testing/synctest bubble and over real HTTP.
//
// To run it: start "recall dev", and give it the address, QSTASH_URL, and the
// token, QSTASH_TOKEN, that are printed.
package main

import (
	"cmp"
	"context"
	"log"
	"net/http"
	"os"
)

func main() {
	address := cmp.Or(os.Getenv("ADDRESS"), "127.0.0.1:3000")
	q := &queue{url: os.Getenv("QSTASH_URL"), token: os.Getenv("QSTASH_TOKEN"), client: http.DefaultClient}
	s := newShop(q, "http://"+address, func(_ context.Context, text string) error {
		log.Print("mail: ", text)
		return nil
	})
	if err := s.start(context.Background()); err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(address, s))
}
