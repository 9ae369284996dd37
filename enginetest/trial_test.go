package enginetest

import (
	"strings"
	"testing"

	"github.com/recallmq/recall"
)

// The judgements themselves: each must be able to fail. Messages are a, b and c in the
// order of their ids, all with the label l and in the queue q, if in any.

func idOf(name string) recall.MessageID { return recall.MessageID("id" + name) }

func idsOfNames(names []string) (ids []recall.MessageID) {
	for _, n := range names {
		ids = append(ids, idOf(n))
	}
	return ids
}

func deed(began, ended int64, v DeedVerb, names ...string) Deed {
	return Deed{Began: began, Ended: ended, Client: int(began), Verb: v, Answer: AnswerDone, Names: names, IDs: idsOfNames(names)}
}

func publishes(began, ended int64, queue string, names ...string) Deed {
	d := deed(began, ended, DeedPublish, names...)
	for range names {
		d.Labels, d.Queues = append(d.Labels, "l"), append(d.Queues, queue)
	}
	return d
}

// lease 1 is of an owner that stays, and lease 2 of one that is gone; so on with more.
func lease(n uint64) recall.LeaseToken { return recall.LeaseToken{Epoch: 2 - n%2, Number: n} }

func claims(began, ended int64, name string, token uint64, attempt int) Deed {
	d := deed(began, ended, DeedClaim, name)
	d.Leases, d.Attempts = []recall.LeaseToken{lease(token)}, []int{attempt}
	return d
}

func ending(began, ended int64, name string, token uint64, o recall.Outcome) Deed {
	d := deed(began, ended, DeedFinish, name)
	d.Leases, d.Outcome = []recall.LeaseToken{lease(token)}, o
	return d
}

func sweeps(began, ended int64, count int) Deed {
	d := deed(began, ended, DeedBulk)
	d.Labels, d.Count, d.Operation = []string{"l"}, count, recall.OperationID(numbered("op", int(began)))
	return d
}

func stopped(d Deed, name string) Deed { d.Answer, d.Blocker = AnswerInFlight, idOf(name); return d }

func limited(d Deed, n int) Deed { d.Limit = n; return d }

func skips(d Deed, names ...string) Deed { d.IDs = idsOfNames(names); return d }

func answered(d Deed, a Answer) Deed {
	if d.Answer = a; d.Verb == DeedPublish && a != AnswerDone {
		d.IDs = nil
	}
	return d
}

func there(name string, place Place, attempts int) Found {
	return Found{Name: name, ID: idOf(name), Place: place, Attempts: attempts}
}

func takenBy(name string, began int) Found {
	f := there(name, FoundCancelled, 0)
	f.Operation = recall.OperationID(numbered("op", began))
	return f
}

func leased(f Found, token uint64) Found { f.Place, f.Lease = FoundInFlight, lease(token); return f }

func TestTrials(t *testing.T) {
	here, unanswered := FoundPending, func(d Deed) Deed { return answered(d, AnswerNothing) }
	for _, c := range []struct {
		name  string
		deeds []Deed
		found []Found
		says  string // "" if all is well
	}{
		{"published", []Deed{publishes(1, 2, "", "a")}, []Found{there("a", here, 0)}, ""},
		{"lost", []Deed{publishes(1, 2, "", "a")}, nil, "is lost"},
		{"published without an answer", []Deed{unanswered(publishes(1, 0, "", "a"))}, nil, ""},
		{"published without an answer, and there", []Deed{unanswered(publishes(1, 0, "", "a"))}, []Found{there("a", here, 0)}, ""},
		{"published in vain", []Deed{answered(publishes(1, 2, "", "a"), AnswerFailed)}, nil, ""},
		{"failed, and there", []Deed{answered(publishes(1, 2, "", "a"), AnswerFailed)}, []Found{there("a", here, 0)}, "its publication has failed"},
		{"there without a publication", []Deed{publishes(1, 2, "", "a")}, []Found{there("a", here, 0), there("b", here, 0)}, "nobody has published"},
		{"there twice", []Deed{publishes(1, 2, "", "a")}, []Found{there("a", here, 0), {Name: "a", ID: "other", Place: here}}, "is there twice"},

		{"delivered", []Deed{publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Delivered)}, nil, ""},
		{"delivered, and there", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Delivered),
		}, []Found{there("a", here, 1)}, "and has ended"},
		{"delivered without an answer", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), unanswered(ending(5, 0, "a", 1, recall.Delivered)),
		}, nil, ""},
		{"delivered with an error, and gone", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), answered(ending(5, 6, "a", 1, recall.Delivered), AnswerLost),
		}, nil, "is lost"},
		{"delivered twice", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Delivered), ending(7, 8, "a", 1, recall.Delivered),
		}, nil, "more than once"},
		{"delivered without the lease", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 2, 1), claims(5, 6, "a", 1, 2), ending(7, 8, "a", 2, recall.Delivered),
		}, nil, "no order"},
		{"lease lost", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 2, 1), claims(5, 6, "a", 1, 2), answered(ending(7, 8, "a", 2, recall.Retry), AnswerLost),
			ending(9, 10, "a", 1, recall.Retry),
		}, []Found{there("a", here, 2)}, ""},
		{"lease lost, and still there", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), answered(ending(7, 8, "a", 1, recall.Retry), AnswerLost),
		}, []Found{leased(there("a", here, 1), 1)}, "no order"},
		{"claimed while somebody has it", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), claims(5, 6, "a", 3, 2),
		}, []Found{leased(there("a", here, 2), 3)}, "no order"},
		{"claimed after a process was lost", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 2, 1), claims(5, 6, "a", 3, 2),
		}, []Found{leased(there("a", here, 2), 3)}, ""},
		{"claimed before it was published", []Deed{claims(1, 2, "a", 1, 1), publishes(3, 4, "", "a")}, []Found{leased(there("a", here, 1), 1)}, "no order"},
		{"an attempt that is not counted", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 2, 1), claims(5, 6, "a", 3, 1),
		}, []Found{leased(there("a", here, 1), 3)}, "no order"},
		{"an attempt that nobody made", []Deed{publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 2)}, []Found{leased(there("a", here, 2), 1)}, "no order"},
		{"an attempt of one that was killed", []Deed{
			publishes(1, 2, "", "a"), unanswered(deed(3, 0, DeedClaim)), claims(5, 6, "a", 1, 2),
		}, []Found{leased(there("a", here, 2), 1)}, ""},
		{"an attempt that does not count", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Release), claims(7, 8, "a", 3, 1),
		}, []Found{leased(there("a", here, 1), 3)}, ""},
		{"pending, and its owner still has it", []Deed{publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1)}, []Found{there("a", here, 1)}, "no order"},
		{"dead", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Dead),
		}, []Found{there("a", FoundDead, 1)}, ""},
		{"dead, and not found", []Deed{publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Dead)}, nil, "found dead false"},
		{"found dead", []Deed{publishes(1, 2, "", "a")}, []Found{there("a", FoundDead, 1)}, "found dead true"},

		{"cancelled", []Deed{publishes(1, 2, "", "a"), deed(3, 4, DeedCancel, "a")}, nil, ""},
		{"cancelled, and claimed", []Deed{
			publishes(1, 2, "", "a"), deed(3, 4, DeedCancel, "a"), claims(5, 6, "a", 1, 1),
		}, nil, "no order"},
		{"not found, and there", []Deed{
			publishes(1, 2, "", "a"), answered(deed(3, 4, DeedCancel, "a"), AnswerNotFound),
		}, []Found{there("a", here, 0)}, "no order"},
		{"in flight, though nobody has it", []Deed{
			publishes(1, 2, "", "a"), answered(deed(3, 4, DeedCancel, "a"), AnswerInFlight),
		}, []Found{there("a", here, 0)}, "no order"},

		{"all cancelled", []Deed{publishes(1, 2, "", "a", "b"), sweeps(3, 4, 2)}, []Found{takenBy("a", 3), takenBy("b", 3)}, ""},
		{"one passed over", []Deed{publishes(1, 2, "", "a", "b"), sweeps(3, 4, 1)}, []Found{there("a", here, 0), takenBy("b", 3)}, "before, and after"},
		{"one that came later", []Deed{publishes(1, 4, "", "a"), publishes(1+1, 3, "", "b"), sweeps(5-1, 6, 1)}, []Found{takenBy("b", 4), there("a", here, 0)}, ""},
		{"too many counted", []Deed{publishes(1, 2, "", "a"), sweeps(3, 4, 2)}, []Found{takenBy("a", 3)}, "1 messages were cancelled by"},
		{"cancelled twice", []Deed{publishes(1, 2, "", "a"), sweeps(3, 4, 1), sweeps(5, 6, 1)}, []Found{takenBy("a", 3)}, "0 messages were cancelled by"},
		{"cancelled and delivered", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Delivered), sweeps(7, 8, 1),
		}, []Found{takenBy("a", 7)}, "more than once"},
		{"claimed after it was cancelled", []Deed{
			publishes(1, 2, "", "a"), sweeps(3, 4, 1), claims(5, 6, "a", 2, 1),
		}, []Found{takenBy("a", 3)}, "no order"},
		{"cancelled after a lease was lost", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 2, 1), sweeps(5, 6, 1),
		}, []Found{takenBy("a", 5)}, ""},
		{"cancelled in flight", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), sweeps(5, 6, 1),
		}, []Found{takenBy("a", 5)}, "no order"},
		{"cancelled before it was published", []Deed{sweeps(1, 2, 1), publishes(3, 4, "", "a")}, []Found{takenBy("a", 1)}, "before it was published"},
		{"an unknown operation", []Deed{publishes(1, 2, "", "a")}, []Found{takenBy("a", 9)}, "nobody has made"},
		{"cancelled without an answer", []Deed{
			publishes(1, 2, "", "a", "b"), unanswered(sweeps(3, 0, 0)),
		}, []Found{takenBy("a", 3), there("b", here, 0)}, ""},
		{"cancelled without an answer, and no prefix", []Deed{
			publishes(1, 2, "", "a", "b"), unanswered(sweeps(3, 0, 0)),
		}, []Found{there("a", here, 0), takenBy("b", 3)}, "before, and after"},
		{"cancelled in part", []Deed{
			publishes(1, 2, "", "a", "b"), answered(sweeps(3, 4, 1), AnswerFailed),
		}, []Found{takenBy("a", 3), there("b", here, 0)}, ""},
		{"limited", []Deed{publishes(1, 2, "", "a", "b"), limited(sweeps(3, 4, 1), 1)}, []Found{takenBy("a", 3), there("b", here, 0)}, ""},
		{"limited, and no prefix", []Deed{publishes(1, 2, "", "a", "b"), limited(sweeps(3, 4, 1), 1)}, []Found{there("a", here, 0), takenBy("b", 3)}, "before, and after"},
		{"more than the limit", []Deed{publishes(1, 2, "", "a", "b"), limited(sweeps(3, 4, 2), 1)}, []Found{takenBy("a", 3), takenBy("b", 3)}, "2 messages were cancelled by"},

		{"stopped", []Deed{
			publishes(1, 2, "", "a", "b", "c"), claims(3, 4, "b", 1, 1), stopped(sweeps(5, 6, 1), "b"), ending(7, 8, "b", 1, recall.Delivered),
		}, []Found{takenBy("a", 5), there("c", here, 0)}, ""},
		{"stopped by nothing", []Deed{publishes(1, 2, "", "a", "b"), stopped(sweeps(5, 6, 1), "b")}, []Found{takenBy("a", 5), there("b", here, 0)}, "no order"},
		{"stopped by what was over", []Deed{
			publishes(1, 2, "", "a"), claims(3, 4, "a", 1, 1), ending(5, 6, "a", 1, recall.Retry), stopped(sweeps(7, 8, 0), "a"),
		}, []Found{there("a", here, 1)}, "no order"},
		{"one before the blocker is left", []Deed{
			publishes(1, 2, "", "a", "b"), claims(3, 4, "b", 1, 1), stopped(sweeps(5, 6, 0), "b"),
		}, []Found{there("a", here, 0), leased(there("b", here, 1), 1)}, "before, and after"},
		{"one behind the blocker is taken", []Deed{
			publishes(1, 2, "", "a", "b"), claims(3, 4, "a", 1, 1), stopped(sweeps(5, 6, 1), "a"),
		}, []Found{leased(there("a", here, 1), 1), takenBy("b", 5)}, "behind the blocker"},
		{"skipped", []Deed{
			publishes(1, 2, "", "a", "b"), claims(3, 4, "a", 1, 1), skips(sweeps(5, 6, 1), "a"),
		}, []Found{leased(there("a", here, 1), 1), takenBy("b", 5)}, ""},
		{"skipped, and not in flight", []Deed{publishes(1, 2, "", "a", "b"), skips(sweeps(5, 6, 1), "a")}, []Found{there("a", here, 0), takenBy("b", 5)}, "no order"},

		{"in its order", []Deed{
			publishes(1, 2, "q", "a", "b"), claims(3, 4, "a", 1, 1), ending(5, 8, "a", 1, recall.Delivered), claims(6, 7, "b", 3, 1),
		}, []Found{leased(there("b", here, 1), 3)}, ""},
		{"out of order", []Deed{
			publishes(1, 2, "q", "a", "b"), claims(3, 4, "a", 1, 1), claims(6, 7, "b", 3, 1), ending(8, 9, "a", 1, recall.Delivered),
		}, []Found{leased(there("b", here, 1), 3)}, "was before it in its queue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			all := Case{Deeds: append(c.deeds, Deed{Began: 100, Verb: DeedEnd, Epoch: 1}), Found: c.found, Counts: map[recall.OperationID]int{}}
			for _, f := range c.found {
				if f.Place == FoundCancelled {
					all.Counts[f.Operation]++
				}
			}
			faults := strings.Join(all.Faults(), "\n")
			if c.says == "" && faults != "" || !strings.Contains(faults, c.says) {
				t.Errorf("got %q, want %q", faults, c.says)
			}
		})
	}
	c := Case{Counts: map[recall.OperationID]int{"op1": 2}}
	if faults := c.Faults(); len(faults) != 1 {
		t.Errorf("a record of what nobody has done: got %q", faults)
	}
}
