package enginetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/recallmq/recall"
)

// apply changes objects and inserts messages.
func (x *fixture) apply(objects []recall.Object, msgs ...recall.Message) []recall.MessageID {
	x.Helper()
	receipts, err := can[recall.Keeper](x).Apply(x.ctx, recall.Change{Objects: objects, Messages: msgs, Now: x.now})
	x.check(err, "Apply")
	ids := make([]recall.MessageID, len(receipts))
	for i, r := range receipts {
		ids[i] = r.ID
	}
	return ids
}

// wantObjects compares the objects of a kind, each as its name and its value.
func (x *fixture) wantObjects(kind recall.ObjectKind, want ...string) {
	x.Helper()
	list, err := can[recall.Keeper](x).Objects(x.ctx, kind)
	x.check(err, "Objects")
	var got []string
	for _, o := range list {
		got = append(got, fmt.Sprintf("%s=%.20s", o.Name, o.Value))
	}
	if !slices.Equal(got, want) {
		x.Fatalf("objects of kind %d: got %q, want %q", kind, got, want)
	}
}

func object(kind recall.ObjectKind, name, value string) recall.Object {
	return recall.Object{Kind: kind, Name: name, Value: []byte(value)}
}

var objectTests = slices.Concat(
	[]contractTest{
		{"objects and messages are one unit", func(x *fixture) {
			ids := x.apply([]recall.Object{object(recall.ObjectTopic, "b", "1"), object(recall.ObjectTopic, "a", "")},
				x.message(label("o")), x.message(label("o")))
			x.wantList(byLabel("o"), ids...)
			x.wantObjects(recall.ObjectTopic, "a=", "b=1")
			x.wantObjects(recall.ObjectSchedule)
		}},
		{"objects are replaced and deleted", func(x *fixture) {
			large := strings.Repeat("0123456789", 2000)
			x.apply([]recall.Object{
				object(recall.ObjectTopic, "a", large), object(recall.ObjectTopic, "b", "1"),
				object(recall.ObjectSchedule, "a", "s"),
			})
			x.apply([]recall.Object{{Kind: recall.ObjectTopic, Name: "b"}, {Kind: recall.ObjectTopic, Name: "nothing"}})
			x.wantObjects(recall.ObjectTopic, "a="+large[:20])
			x.apply([]recall.Object{object(recall.ObjectTopic, "a", "2")})
			x.wantObjects(recall.ObjectTopic, "a=2")
			x.wantObjects(recall.ObjectSchedule, "a=s")
		}},
		{"the caller may reuse its memory of an object", func(x *fixture) {
			value := []byte("before")
			x.apply([]recall.Object{{Kind: recall.ObjectTopic, Name: "a", Value: value}})
			copy(value, "after!")
			x.wantObjects(recall.ObjectTopic, "a=before")
			list, err := can[recall.Keeper](x).Objects(x.ctx, recall.ObjectTopic)
			x.check(err, "Objects")
			list[0].Value[0] = 'X'
			x.wantObjects(recall.ObjectTopic, "a=before")
		}},
		{"a change on a condition is made whole or not at all", func(x *fixture) {
			change := func(want error, value string, was ...recall.Object) {
				x.Helper()
				_, err := can[recall.Keeper](x).Apply(x.ctx, recall.Change{
					Objects: []recall.Object{object(recall.ObjectTopic, "a", value)}, If: was,
					Messages: []recall.Message{x.message(label("if"))}, Now: x.now,
				})
				if !errors.Is(err, want) {
					x.Errorf("to %q: got %v, want %v", value, err, want)
				}
			}
			absent := recall.Object{Kind: recall.ObjectTopic, Name: "a"}
			change(recall.ErrObjectChanged, "0", object(recall.ObjectTopic, "a", ""))
			change(nil, "1", absent)
			change(recall.ErrObjectChanged, "2", absent)
			change(recall.ErrObjectChanged, "2", object(recall.ObjectTopic, "a", "1"), object(recall.ObjectTopic, "b", "1"))
			change(nil, "2", object(recall.ObjectTopic, "a", "1"))
			x.wantObjects(recall.ObjectTopic, "a=2")
			x.wantCount(byLabel("if"), 2, 0)
		}},
		{"messages follow an outcome in one unit", func(x *fixture) {
			id := x.publish(label("o"))
			for i, outcome := range []recall.Outcome{recall.Retry, recall.Dead} {
				l := x.claimOne(id)
				follow := x.message(label("follow"))
				follow.Source, follow.Blocks = id, "q"
				f := recall.Finish{Outcome: outcome, Now: x.now, Due: x.now, Follow: []recall.Message{follow}, Durable: true}
				x.check(x.e.Finish(x.ctx, l, f), "Finish")
				x.wantCount(byLabel("follow"), i+1, 0)
			}
			for _, m := range x.list(byLabel("follow")) {
				if got := x.get(m); got.Source != id || got.Blocks != "q" {
					x.Errorf("a message that follows: source %q, blocks %q", got.Source, got.Blocks)
				}
			}
		}},
	},
	restart("objects are there after a restart", func(x *fixture, reopen func()) {
		large := bytes.Repeat([]byte("0123456789"), 2000)
		x.apply([]recall.Object{{Kind: recall.ObjectTopic, Name: "a", Value: large}, object(recall.ObjectSchedule, "b", "")})
		x.apply([]recall.Object{object(recall.ObjectTopic, "c", "1"), {Kind: recall.ObjectSchedule, Name: "b"}})
		reopen()
		x.wantObjects(recall.ObjectTopic, "a="+string(large[:20]), "c=1")
		x.wantObjects(recall.ObjectSchedule)
	}),
)
