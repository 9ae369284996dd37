package dump_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/dump"
)

// TestAnyQueue moves small queues of any making, by any batches, and on to a third
// engine: all three are the same to whoever lists, filters and claims.
func TestAnyQueue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		from, to, third := newFile(t), newFile(t), newFile(t)
		n := rapid.IntRange(0, 12).Draw(rt, "messages")
		text := rapid.StringOfN(rapid.RuneFrom([]rune("aü<&\"\\ ")), 1, 8, 20)
		for i := range n {
			m := message(i)
			m.URL += "&x=" + fmt.Sprint(rapid.IntRange(0, 3).Draw(rt, "url"))
			m.Labels = rapid.SliceOfN(text, 0, 3).Draw(rt, "labels")
			m.Queue = rapid.SampledFrom([]string{"", "q", "ü"}).Draw(rt, "queue")
			m.Body = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "body")
			if v := rapid.SliceOfN(rapid.ByteRange(0x80, 0xff), 0, 4).Draw(rt, "header"); len(v) > 0 {
				m.Header = map[string][]string{"X-A": {string(v), "x"}}
			}
			m.DueAt = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "due")) * time.Second)
			if _, err := from.Insert(t.Context(), []recall.Message{m}, now); err != nil {
				rt.Fatal(err)
			}
			attempt(rt, from)
		}
		for _, step := range [][2]recall.Engine{{from, to}, {to, third}} {
			if _, err := dump.Import(t.Context(), step[1], bytes.NewReader(exported(t, step[0])), now, nil); err != nil {
				rt.Fatal(err)
			}
			checkSame(t, step[1], step[0])
		}
		sameForAll(rt, from, third)
	})
}

// attempt has something become of what is due.
func attempt(rt *rapid.T, e recall.Engine) {
	outcome := rapid.SampledFrom([]recall.Outcome{0, recall.Delivered, recall.Retry, recall.Dead}).Draw(rt, "outcome")
	if outcome == 0 {
		return
	}
	res, err := e.Claim(rt.Context(), recall.ClaimRequest{Now: now, Max: 1})
	if err != nil {
		rt.Fatal(err)
	}
	for _, l := range res.Leases {
		f := recall.Finish{Outcome: outcome, Now: now, Due: now.Add(time.Minute), Reason: "no", Durable: true}
		if err := e.Finish(rt.Context(), l, f); err != nil {
			rt.Fatal(err)
		}
	}
}

// sameForAll compares what callers see.
func sameForAll(rt *rapid.T, a, b recall.Engine) {
	for _, f := range []recall.Filter{
		{},
		{Queues: []string{"q"}},
		{URLs: []string{message(0).URL + "&x=1"}},
		{Labels: []string{"a"}},
		{MinAttempts: 1},
		{DueAfter: now.Add(time.Second)},
		{States: []recall.State{recall.StateRetrying, recall.StateDelayed}},
		{From: now, To: now},
	} {
		x, err := a.List(rt.Context(), f, "", 100, now)
		y, err2 := b.List(rt.Context(), f, "", 100, now)
		if err != nil || err2 != nil || fmt.Sprint(idsOf(x)) != fmt.Sprint(idsOf(y)) {
			rt.Fatalf("%s: got %v, %v and %v, %v", f, idsOf(x), err, idsOf(y), err2)
		}
	}
	later := now.Add(time.Hour)
	for {
		x, err := a.Claim(rt.Context(), recall.ClaimRequest{Now: later, Max: 1})
		y, err2 := b.Claim(rt.Context(), recall.ClaimRequest{Now: later, Max: 1})
		if err != nil || err2 != nil || len(x.Leases) != len(y.Leases) {
			rt.Fatalf("claims: %v, %v and %v, %v", x, err, y, err2)
		}
		if len(x.Leases) == 0 {
			return
		}
		if x.Leases[0].Message.ID != y.Leases[0].Message.ID {
			rt.Fatalf("claimed %s and %s", x.Leases[0].Message.ID, y.Leases[0].Message.ID)
		}
		f := recall.Finish{Outcome: recall.Delivered, Now: later, Durable: true}
		if err := a.Finish(rt.Context(), x.Leases[0], f); err != nil {
			rt.Fatal(err)
		}
		if err := b.Finish(rt.Context(), y.Leases[0], f); err != nil {
			rt.Fatal(err)
		}
	}
}

func idsOf(msgs []recall.Message) (ids []recall.MessageID) {
	for i := range msgs {
		ids = append(ids, msgs[i].ID)
	}
	return ids
}
