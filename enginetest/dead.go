package enginetest

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

func deadIDs(dead []recall.DeadLetter) []recall.DeadLetterID {
	ids := make([]recall.DeadLetterID, len(dead))
	for i, d := range dead {
		ids[i] = d.ID
	}
	return ids
}

const unknownDead recall.DeadLetterID = "1800000000000-999999999"

var deadTests = []contractTest{
	{"an entry tells the whole story", func(x *fixture) {
		m := x.message(label("a"), queue("q"))
		m.Body, m.Header = []byte("body"), http.Header{"X": {"1"}}
		id := x.insert(m)[0]
		x.finish(x.claimOne(id), recall.Retry)
		x.advance(time.Hour)
		f := x.ending(recall.Dead)
		f.Reason = "status 503 from the endpoint"
		f.Response = &recall.HTTPResponse{Status: 503, Header: http.Header{"Retry-After": {"7"}}, Body: []byte("sorry")}
		x.check(x.e.Finish(x.ctx, x.claimOne(id), f), "Finish")
		dead := x.listDead(recall.Filter{})
		if len(dead) != 1 {
			x.Fatalf("got %d dead letters, want 1", len(dead))
		}
		d := dead[0]
		if d.ID == "" || d.Message.ID != id || !d.DiedAt.Equal(x.now) || d.Attempts != 2 || d.Reason != f.Reason {
			x.Errorf("got %+v", d)
		}
		if d.Response == nil || d.Response.Status != 503 || string(d.Response.Body) != "sorry" || d.Response.Header.Get("Retry-After") != "7" {
			x.Errorf("response: got %+v", d.Response)
		}
		d.Message.DueAt = m.DueAt // that of the last attempt
		wantWhole(x, d.Message, m)
	}},
	{"there may be no response", func(x *fixture) {
		if d := x.kill(); d.Response != nil {
			x.Errorf("got %+v", d.Response)
		}
	}},
	{"the list is in the order of arrival, in pages", func(x *fixture) {
		var want []recall.DeadLetterID
		for i := range 10 {
			want = append(want, x.kill(label("a")).ID)
			x.now = base.Add(time.Duration([]int{1, -2}[i%2]) * time.Hour) // also when the clock goes back
		}
		x.now = base
		if got := deadIDs(x.listDead(recall.Filter{})); !slices.Equal(got, want) {
			x.Fatalf("ListDead: got %v, want %v", got, want)
		}
		var got []recall.DeadLetterID
		after := recall.DeadLetterID("")
		for {
			page, err := x.e.ListDead(x.ctx, recall.Filter{Labels: []string{"a"}}, after, 3)
			x.check(err, "ListDead")
			if len(page) == 0 {
				break
			}
			got = append(got, deadIDs(page)...)
			after = got[len(got)-1]
			_, err = x.e.DeleteDead(x.ctx, []recall.DeadLetterID{after})
			x.check(err, "DeleteDead")
		}
		if !slices.Equal(got, want) {
			x.Errorf("ListDead in pages: got %v, want %v", got, want)
		}
	}},
	{"a list ends once its bodies are large", func(x *fixture) {
		large := func(m *recall.Message) { m.Body = make([]byte, 3<<20) }
		huge := func(m *recall.Message) { m.Body = make([]byte, recall.PageBytes+1) }
		var want []recall.DeadLetterID
		for _, size := range []func(*recall.Message){large, large, large, large, huge, large} {
			want = append(want, x.kill(size).ID)
		}
		got, err := x.e.DeadIDs(x.ctx, recall.Filter{}, "", 5)
		if err != nil || !slices.Equal(got, want[:5]) {
			x.Errorf("DeadIDs: got %v, %v, want %v", got, err, want[:5])
		}
		after := recall.DeadLetterID("")
		for _, page := range [][]recall.DeadLetterID{want[:3], want[3:5], want[5:], nil} {
			got, err := x.e.ListDead(x.ctx, recall.Filter{}, after, 10)
			if err != nil || !slices.Equal(deadIDs(got), page) {
				x.Fatalf("ListDead: got %v, %v, want %v", deadIDs(got), err, page)
			}
			if len(got) > 0 {
				after = got[len(got)-1].ID
			}
		}
	}},
	{"deleted entries are gone, unknown ones are passed over", func(x *fixture) {
		a, b, c := x.kill().ID, x.kill().ID, x.kill().ID
		n, err := x.e.DeleteDead(x.ctx, []recall.DeadLetterID{c, unknownDead, a, c})
		if err != nil || n != 2 {
			x.Fatalf("DeleteDead: got %d, %v, want 2", n, err)
		}
		if got := deadIDs(x.listDead(recall.Filter{})); !slices.Equal(got, []recall.DeadLetterID{b}) {
			x.Fatalf("ListDead: got %v, want %v", got, b)
		}
		if n, err := x.e.DeleteDead(x.ctx, []recall.DeadLetterID{a, c}); err != nil || n != 0 {
			x.Errorf("DeleteDead again: got %d, %v, want 0", n, err)
		}
		if n, err := x.e.DeleteDead(x.ctx, nil); err != nil || n != 0 {
			x.Errorf("DeleteDead of nothing: got %d, %v", n, err)
		}
	}},
	{"a retried entry is a new message", func(x *fixture) {
		m := x.message(label("a", "b"), queue("q"), url("https://api.test/again"))
		m.Body, m.Header = []byte("body"), http.Header{"X": {"1"}}
		m.Topic, m.CallerIP = "topic", "10.0.0.1"
		old := x.insert(m)[0]
		x.finish(x.claimOne(old), recall.Dead)
		x.advance(time.Hour)
		d := x.listDead(recall.Filter{})[0]
		receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{unknownDead, d.ID, d.ID}, x.now)
		x.check(err, "RetryDead")
		if len(receipts) != 1 || receipts[0].ID <= old || !receipts[0].CreatedAt.Equal(x.now) {
			x.Fatalf("RetryDead: got %+v", receipts)
		}
		id := receipts[0].ID
		got := x.get(id)
		m.CreatedAt, m.DueAt = x.now, x.now
		wantWhole(x, got, m)
		if got.Attempts != 0 || got.State != recall.StateReady {
			x.Errorf("got %d attempts, state %q", got.Attempts, got.State)
		}
		if n := len(x.listDead(recall.Filter{})); n != 0 {
			x.Errorf("got %d dead letters", n)
		}
		x.wantGone(old)
		x.wantList(recall.Filter{Labels: []string{"a"}, From: x.now}, id)
		if l := x.claimOne(id); l.Message.Attempts != 1 || string(l.Message.Body) != "body" {
			x.Errorf("lease: got %d attempts, body %q", l.Message.Attempts, l.Message.Body)
		}
	}},
	{"retried entries can be changed", func(x *fixture) {
		r := can[recall.Redriver](x)
		first, second := x.kill(label("a")), x.kill(label("b"))
		refused := errors.New("refused")
		_, err := r.RetryDeadWith(x.ctx, []recall.DeadLetterID{first.ID, second.ID}, x.now, func(m *recall.Message) error {
			if m.Labels[0] == "b" {
				return refused
			}
			return nil
		})
		x.wantError(err, refused, "RetryDeadWith")
		if got := len(x.listDead(recall.Filter{})); got != 2 {
			x.Fatalf("after a refusal: got %d dead letters, want 2", got)
		}
		var met []string
		receipts, err := r.RetryDeadWith(x.ctx, []recall.DeadLetterID{first.ID, unknownDead, second.ID}, x.now, func(m *recall.Message) error {
			met = append(met, m.Labels[0])
			if !m.DueAt.Equal(x.now) || m.Attempts != 0 {
				x.Errorf("change was given due %v, %d attempts", m.DueAt, m.Attempts)
			}
			m.Labels, m.DueAt = append(m.Labels, "again"), x.now.Add(time.Hour)
			return nil
		})
		x.check(err, "RetryDeadWith")
		if !slices.Equal(met, []string{"a", "b"}) || len(receipts) != 2 {
			x.Fatalf("got %v, %d receipts", met, len(receipts))
		}
		x.wantList(byLabel("again"), receipts[0].ID, receipts[1].ID)
		if m := x.get(receipts[0].ID); !m.DueAt.Equal(x.now.Add(time.Hour)) || m.State != recall.StateDelayed {
			x.Errorf("got %+v", m)
		}
		if got := len(x.listDead(recall.Filter{})); got != 0 {
			x.Errorf("got %d dead letters", got)
		}
	}},
	{"several entries are retried as one unit, in order", func(x *fixture) {
		var dead []recall.DeadLetterID
		for i := range 5 {
			dead = append(dead, x.kill(label(numbered("l", i))).ID)
		}
		receipts, err := x.e.RetryDead(x.ctx, dead, x.now)
		x.check(err, "RetryDead")
		if len(receipts) != 5 {
			x.Fatalf("RetryDead: got %d receipts, want 5", len(receipts))
		}
		for i, r := range receipts {
			x.wantList(recall.Filter{Labels: []string{numbered("l", i)}}, r.ID)
			if i > 0 && receipts[i-1].ID >= r.ID {
				x.Errorf("receipt %d is out of order", i)
			}
		}
		if again, err := x.e.RetryDead(x.ctx, dead, x.now); err != nil || len(again) != 0 {
			x.Errorf("RetryDead again: got %d receipts, %v", len(again), err)
		}
	}},
	{"a message can die again", func(x *fixture) {
		first := x.kill(label("a"))
		receipts, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{first.ID}, x.now)
		x.check(err, "RetryDead")
		x.finish(x.claimOne(receipts[0].ID), recall.Dead)
		dead := x.listDead(recall.Filter{Labels: []string{"a"}})
		if len(dead) != 1 || dead[0].ID == first.ID || dead[0].Message.ID != receipts[0].ID {
			x.Errorf("got %v", deadIDs(dead))
		}
	}},
	{"dates are those of publication", func(x *fixture) {
		id := x.publish()
		x.advance(time.Hour)
		x.finish(x.claimOne(id), recall.Dead)
		if got := len(x.listDead(recall.Filter{From: base, To: base})); got != 1 {
			x.Errorf("published then: got %d, want 1", got)
		}
		if got := len(x.listDead(recall.Filter{From: x.now})); got != 0 {
			x.Errorf("died then: got %d, want 0", got)
		}
	}},
	{"a done context changes nothing", func(x *fixture) {
		d := x.kill()
		if _, err := x.e.DeleteDead(doneContext(), []recall.DeadLetterID{d.ID}); err == nil {
			x.Error("DeleteDead: got no error")
		}
		if _, err := x.e.RetryDead(doneContext(), []recall.DeadLetterID{d.ID}, x.now); err == nil {
			x.Error("RetryDead: got no error")
		}
		if got := len(x.listDead(recall.Filter{})); got != 1 {
			x.Errorf("got %d dead letters, want 1", got)
		}
	}},
}

var closeTests = []contractTest{
	{"every call on a closed engine says so", func(x *fixture) {
		id := x.publish()
		blocked := x.publish()
		l := x.claimOne(id)
		d := recall.DeadLetterID(unknownDead)
		x.check(x.e.Close(), "Close")
		calls := map[string]func() error{
			"Insert": func() error { _, err := x.e.Insert(x.ctx, []recall.Message{x.message()}, x.now); return err },
			"Get":    func() error { _, err := x.e.Get(x.ctx, id, x.now); return err },
			"List":   func() error { _, err := x.e.List(x.ctx, recall.Filter{}, "", 1, x.now); return err },
			"Count":  func() error { _, err := x.e.Count(x.ctx, recall.Filter{}, x.now); return err },
			"Explain": func() error {
				_, err := x.e.Explain(x.ctx, recall.Filter{}, x.now)
				return err
			},
			"Claim":  func() error { _, err := x.e.Claim(x.ctx, recall.ClaimRequest{Now: x.now, Max: 1}); return err },
			"Finish": func() error { return x.e.Finish(x.ctx, l, x.ending(recall.Delivered)) },
			"Finish, not durable": func() error {
				return x.e.Finish(x.ctx, l, recall.Finish{Outcome: recall.Delivered, Now: x.now})
			},
			"Cancel": func() error { return x.cancel(blocked) },
			"CancelMatching": func() error {
				_, err := x.e.CancelMatching(x.ctx, recall.CancelMatchingRequest{All: true, Now: x.now})
				return err
			},
			"ListDead":   func() error { _, err := x.e.ListDead(x.ctx, recall.Filter{}, "", 1); return err },
			"DeleteDead": func() error { _, err := x.e.DeleteDead(x.ctx, []recall.DeadLetterID{d}); return err },
			"RetryDead":  func() error { _, err := x.e.RetryDead(x.ctx, []recall.DeadLetterID{d}, x.now); return err },
			"DeleteDeadMatching": func() error {
				_, err := x.e.DeleteDeadMatching(x.ctx, recall.DeadMatchingRequest{Now: x.now})
				return err
			},
			"RetryDeadMatching": func() error {
				_, err := x.e.RetryDeadMatching(x.ctx, recall.DeadMatchingRequest{Now: x.now})
				return err
			},
			"Maintain": func() error { _, err := x.e.Maintain(x.ctx, x.now); return err },
		}
		for name, call := range calls {
			if err := call(); !errorIs(err, recall.ErrClosed) {
				x.Errorf("%s: got %v, want ErrClosed", name, err)
			}
		}
		if err := x.e.Close(); err != nil && !errorIs(err, recall.ErrClosed) {
			x.Errorf("second Close: got %v", err)
		}
		x.e.Stats()
		x.e.Hints()
	}},
	{"it may be closed with leases out", func(x *fixture) {
		x.publishMany(3)
		x.advance(time.Second)
		x.claim(2)
		x.check(x.e.Close(), "Close")
	}},
	{"calls under way end with their outcome", func(x *fixture) {
		type outcome struct {
			receipts []recall.Receipt
			err      error
		}
		results := make(chan outcome)
		for range 4 {
			go func() {
				r, err := x.e.Insert(x.ctx, []recall.Message{x.message()}, x.now)
				results <- outcome{r, err}
			}()
		}
		x.check(x.e.Close(), "Close")
		for range 4 {
			if o := <-results; (o.err == nil) != (len(o.receipts) == 1) || o.err != nil && !errorIs(o.err, recall.ErrClosed) {
				x.Errorf("Insert beside Close: got %d receipts, %v", len(o.receipts), o.err)
			}
		}
	}},
}
