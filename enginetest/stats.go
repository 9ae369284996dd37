package enginetest

import "github.com/recallmq/recall"

func (x *fixture) wantEnds(when string, want ends) {
	x.Helper()
	if got := endsOf(x.e); got != want {
		x.Errorf("Stats %s: got %+v, want %+v", when, got, want)
	}
}

var statsTests = []contractTest{
	{"what becomes of messages is counted", func(x *fixture) {
		ids := x.publishMany(3, label("l"))
		x.duplicate(x.first(dedup("a")), base, dedup("a"))
		x.wantEnds("of four messages and a duplicate", ends{published: 4, duplicates: 1})
		x.check(x.cancel(ids[0]), "Cancel")
		res := x.cancelMatching(recall.Filter{Labels: []string{"l"}}, 2)
		x.wantEnds("of three that were cancelled", ends{published: 4, duplicates: 1, cancelled: 3})
		if _, ok := x.e.(recall.Restorer); !ok {
			return
		}
		x.wantRestored(res.Operation, 2, 0)
		x.wantRestored(res.Operation, 2, 0)
		x.wantEnds("of two that an undo has brought back", ends{published: 4, duplicates: 1, cancelled: 3, restored: 2})
	}},
	{"what dies is counted, and what a request ends", func(x *fixture) {
		ids := x.publishDue(2)
		first := x.claimOne(ids[0])
		x.cancelSticky(ids[0])
		x.wantEnds("of a request", ends{published: 2})
		x.end(first, recall.Retry)
		x.end(x.claimOne(ids[1]), recall.Dead)
		x.wantEnds("of both at their end", ends{published: 2, cancelled: 1, died: 1})
	}},
}
