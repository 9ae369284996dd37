package main

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/recalltest"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

const self = "https://shop.test"

// mails keeps what was mailed.
type mails struct {
	mu    sync.Mutex
	sent  []string
	fails int // the next so many
}

func (m *mails) send(_ context.Context, text string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fails > 0 {
		m.fails--
		return errors.New("the mail server is down")
	}
	m.sent = append(m.sent, text)
	return nil
}

// check compares what was mailed since the last check.
func (m *mails) check(t *testing.T, want ...string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := strings.Join(m.sent, "; "); got != strings.Join(want, "; ") {
		t.Errorf("mails: got %q, want %q", got, want)
	}
	m.sent = nil
}

// bench is a shop with everything around it. post is a call of a customer.
type bench struct {
	*recalltest.Server
	mails *mails
	post  func(t *testing.T, path string) int
}

// inBubble: no sockets, and the time of the queue is that of the program.
func inBubble(t *testing.T) *bench {
	s := recalltest.New(t, recalltest.Bubble())
	m := &mails{}
	shop := newShop(&queue{s.URL, s.Token, s.Client()}, self, m.send)
	s.Endpoint(self).Handle(shop)
	if err := shop.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{s, m, func(_ *testing.T, path string) int {
		w := httptest.NewRecorder()
		shop.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		return w.Code
	}}
}

// overHTTP: the queue and the shop are real servers, and only the time is not.
func overHTTP(t *testing.T) *bench {
	s := recalltest.New(t, recalltest.StartAt(time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)))
	m := &mails{}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	shop := newShop(&queue{s.URL, s.Token, client}, self, m.send)
	web := httptest.NewServer(shop)
	t.Cleanup(web.Close)
	s.Endpoint(self).Forward(web.URL)
	if err := shop.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &bench{s, m, func(t *testing.T, path string) int {
		resp, err := client.Post(web.URL+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}}
}

// both runs a test with either.
func both(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, func(t *testing.T) { test(t, inBubble(t)) }) })
	t.Run("HTTP", func(t *testing.T) { test(t, overHTTP(t)) })
}

// TestReminders: whoever does not pay is reminded three times. When the mail
// server is down the queue tries again.
func TestReminders(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.post(t, "/orders/7")
		b.Advance(23 * time.Hour)
		b.mails.check(t, "orders that are not paid: 1") // at eight
		b.mails.fails = 2
		b.Advance(time.Hour)
		b.Advance(12 * time.Second)
		b.mails.check(t)
		b.Advance(148 * time.Second)
		b.mails.check(t, "order 7 is not paid yet")
		b.CheckDelivered(t,
			recalltest.Message{URL: self + "/hooks/remind/7", Label: "order-7", Attempts: 3},
			recalltest.Message{URL: self + "/hooks/report", ScheduleID: "report", Attempts: 1},
		)
		b.Advance(6 * 24 * time.Hour)
		b.CheckDelivered(t,
			recalltest.Message{Label: "order-7", Body: "3d", Attempts: 1},
			recalltest.Message{Label: "order-7", Body: "7d", Attempts: 1},
		)
	})
}

// TestPaid: with the payment the reminders are gone, those of other orders are not.
func TestPaid(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.post(t, "/orders/7")
		b.Advance(time.Minute) // what is due at one instant is delivered at once, in any order
		b.post(t, "/orders/8")
		b.Advance(36 * time.Hour)
		b.mails.check(t, "orders that are not paid: 2", "order 7 is not paid yet", "order 8 is not paid yet", "orders that are not paid: 2")
		if status := b.post(t, "/orders/7/paid"); status != 200 {
			t.Errorf("got %d", status)
		}
		b.CheckCancelled(t, recall.Filter{Labels: []string{"order-7"}}, 2)
		b.CheckCancelled(t, recall.Filter{Labels: []string{"order-8"}}, 0)
		b.Advance(36 * time.Hour)
		b.mails.check(t, "orders that are not paid: 1", "order 8 is not paid yet")
	})
}

// TestQueueIsDown: an order that could not be published is refused, and tried again
// it is not there twice, though an answer was lost.
func TestQueueIsDown(t *testing.T) {
	both(t, func(t *testing.T, b *bench) {
		b.FailNext(recalltest.CallPublish, 1, 500)
		if status := b.post(t, "/orders/7"); status != 503 {
			t.Errorf("got %d", status)
		}
		b.LoseNext(recalltest.CallPublish, 1)
		if status := b.post(t, "/orders/7"); status != 503 {
			t.Errorf("got %d", status)
		}
		if status := b.post(t, "/orders/7"); status != 200 {
			t.Errorf("got %d", status)
		}
		b.CheckPublished(t, recalltest.Message{Body: "1d"}, recalltest.Message{Body: "3d"}, recalltest.Message{Body: "7d"})
		b.CheckNothingElse(t)
	})
}
