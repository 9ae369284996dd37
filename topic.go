package recall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Limits of topics.
const (
	// MaxEndpoints is how many endpoints a topic may have.
	MaxEndpoints = 100
	// MaxTopics is how many topics there may be.
	MaxTopics = 10_000
)

// Endpoint is a destination of a topic.
type Endpoint struct {
	// Name is optional, at most MaxName bytes, and one of its kind in the topic.
	// Messages bear it as Message.Endpoint.
	Name string `json:"name,omitempty"`
	// URL is a destination as in Message.URL, and one of its kind in the topic.
	URL string `json:"url"`
}

// Topic is a name for several destinations: what is published to it with
// [Broker.PublishTopic] or by a [Schedule] goes to each of them. It is QStash's
// URL group.
type Topic struct {
	Name      string
	Endpoints []Endpoint // in the order in which they were added
	// Defaults are kept for who publishes to the topic over HTTP: package qstash
	// puts them beneath the headers of a request. PublishTopic and schedules do
	// not look at them. See [Broker.SetTopicDefaults].
	Defaults  http.Header
	CreatedAt time.Time
	UpdatedAt time.Time
}

// AddEndpoints adds endpoints to a topic, making the topic if there is none, and
// returns it as it is then. An endpoint whose name the topic has gets the new
// URL; one whose URL it has gets the new name, if it brings one. Messages that
// were published before are not changed.
//
// It is durable when it returns. Errors: [ErrInvalid] (also for no endpoint, for
// more than [MaxEndpoints] or [MaxTopics], and for what would give two endpoints
// one URL or one name), [ErrUnsupported], [ErrFull], [ErrFailed] (unknown),
// [ErrCorrupt], [ErrClosed], or that of ctx if it was done before anything was
// changed. Safe for concurrent use.
func (b *Broker) AddEndpoints(ctx context.Context, topic string, endpoints ...Endpoint) (Topic, error) {
	if err := checkTopic(topic); err != nil {
		return Topic{}, err
	}
	if err := checkEndpoints(endpoints); err != nil {
		return Topic{}, err
	}
	return b.changeTopic(ctx, topic, func(t *Topic, found bool, _ error) error { // a fault is overwritten
		if !found && b.topics.size() >= MaxTopics {
			return overLimit("Topic", "there are %d topics already", MaxTopics)
		}
		for _, e := range endpoints {
			if err := t.add(e); err != nil {
				return err
			}
		}
		if len(t.Endpoints) > MaxEndpoints {
			return overLimit("Endpoints", "%d endpoints are more than the limit of %d", len(t.Endpoints), MaxEndpoints)
		}
		return nil
	})
}

// RemoveEndpoints removes the endpoints that are named by Name, URL or both, and
// returns the topic as it is then. Those that it does not have are passed over.
// A topic goes with its last endpoint, as in QStash. What was published to an
// endpoint before is delivered all the same.
//
// It is durable when it returns. Errors: [ErrNoTopic], and those of
// [Broker.AddEndpoints]. Safe for concurrent use.
func (b *Broker) RemoveEndpoints(ctx context.Context, topic string, endpoints ...Endpoint) (Topic, error) {
	if err := checkTopic(topic); err != nil {
		return Topic{}, err
	}
	if len(endpoints) == 0 {
		return Topic{}, invalid("Endpoints", "there are none")
	}
	for i, e := range endpoints {
		if e == (Endpoint{}) {
			return Topic{}, invalid("Endpoints", "endpoint %d has neither name nor URL", i)
		}
	}
	return b.changeTopic(ctx, topic, func(t *Topic, found bool, fault error) error {
		if !found {
			return noTopic(topic)
		}
		if fault != nil {
			return fault
		}
		t.Endpoints = slices.DeleteFunc(t.Endpoints, func(have Endpoint) bool {
			return slices.ContainsFunc(endpoints, have.isNamed)
		})
		return nil
	})
}

// DeleteTopic deletes a topic with its endpoints. What was published to it before
// is delivered all the same; a [Schedule] that publishes to it goes on without
// doing so. Errors: [ErrNoTopic], and those of [Broker.AddEndpoints]. It is
// durable when it returns, and no message to the topic appears afterwards; where
// several processes work on one queue, those of others may for a moment, see [SharedKeeper].
func (b *Broker) DeleteTopic(ctx context.Context, topic string) error {
	if err := checkTopic(topic); err != nil {
		return err
	}
	_, err := b.changeTopic(ctx, topic, func(t *Topic, found bool, _ error) error {
		if !found {
			return noTopic(topic)
		}
		t.Endpoints = nil
		return nil
	})
	return err
}

// Topic returns a topic. Errors: [ErrNoTopic], [ErrInvalid], [ErrUnsupported],
// [ErrCorrupt], [ErrClosed], that of ctx.
func (b *Broker) Topic(ctx context.Context, name string) (Topic, error) {
	if err := checkTopic(name); err != nil {
		return Topic{}, err
	}
	if _, err := b.beginTopics(ctx); err != nil {
		return Topic{}, err
	}
	defer b.end()
	t, err := b.currentTopic(ctx, name)
	switch {
	case err != nil:
		return Topic{}, err
	case t.fault != nil:
		return Topic{}, t.fault
	case !t.found:
		return Topic{}, noTopic(name)
	}
	return t.value.clone(), nil
}

// Topics returns all topics in the order of their names; those that are damaged
// are left out, and the error is about them then. Errors: [ErrUnsupported],
// [ErrCorrupt], [ErrClosed], that of ctx.
func (b *Broker) Topics(ctx context.Context) ([]Topic, error) {
	if _, err := b.beginTopics(ctx); err != nil {
		return nil, err
	}
	defer b.end()
	list, fault := b.topics.all()
	out := make([]Topic, len(list))
	for i, t := range list {
		out[i] = t.clone()
	}
	return out, fault
}

// TopicReceipt acknowledges the message to one endpoint of a topic.
type TopicReceipt struct {
	Receipt
	Endpoint Endpoint
}

// PublishTopic publishes m to every endpoint of a topic: one message for each,
// with its own id, attempts and fate, and all of them as one unit, as in
// [Broker.PublishBatch]. Message.URL must be empty and Message.Topic may be;
// each message has the URL of its endpoint, the topic as Topic and the name of
// the endpoint as Endpoint. Receipts are in the order of the endpoints.
//
// The endpoints are those of one moment during the call: changes of the topic
// count whole or not at all. Errors: [ErrNoTopic] when there is no such topic,
// [ErrUnsupported], [ErrCorrupt], and those of [Broker.Publish]. Safe for
// concurrent use.
func (b *Broker) PublishTopic(ctx context.Context, topic string, m Message) ([]TopicReceipt, error) {
	m, err := toTopic(topic, m)
	if err != nil {
		return nil, err
	}
	if _, err := b.beginTopics(ctx); err != nil {
		return nil, err
	}
	defer b.end()
	b.topics.turn.RLock()
	defer b.topics.turn.RUnlock()
	t, err := b.findTopic(topic)
	if err != nil {
		return nil, err
	}
	now := b.clock.Now()
	msgs, err := t.fan(m, b.opts, now)
	if err != nil {
		return nil, err
	}
	receipts, err := b.storeMessages(ctx, msgs, now)
	return t.receipts(receipts), unbatched(err)
}

// PublishTopic is [Broker.PublishTopic] within the transaction.
func (tx *Tx) PublishTopic(topic string, m Message) ([]TopicReceipt, error) {
	if err := tx.check(); err != nil {
		return nil, err
	}
	m, err := toTopic(topic, m)
	if err != nil {
		return nil, err
	}
	k, ok := tx.b.engine.(Keeper)
	if !ok {
		return nil, ErrUnsupported
	}
	// Not again: Update has done that, and others wait for this transaction.
	if tx.within || tx.b.topics.timesRead() == 0 {
		if err := tx.b.fillTopics(tx.ctx, k); err != nil {
			return nil, err
		}
	}
	t, err := tx.b.findTopic(topic)
	if err != nil {
		return nil, err
	}
	msgs, err := t.fan(m, tx.b.opts, tx.now)
	if err != nil {
		return nil, err
	}
	receipts, err := tx.storeMessages(msgs)
	return t.receipts(receipts), unbatched(err)
}

func toTopic(topic string, m Message) (Message, error) {
	if err := checkTopic(topic); err != nil {
		return m, err
	}
	if m.URL != "" {
		return m, invalid("URL", "a message to a topic goes to the URLs of its endpoints")
	}
	if m.Topic != "" && m.Topic != topic {
		return m, invalid("Topic", "the message is for %q", clip(m.Topic))
	}
	m.Topic = topic
	return m, nil
}

// fan returns m for each endpoint, as engines want it.
func (t *Topic) fan(m Message, o *Options, now time.Time) ([]Message, error) {
	msgs := make([]Message, len(t.Endpoints))
	for i, e := range t.Endpoints {
		m.URL = e.URL
		var err error
		if msgs[i], err = m.resolve(o, now); err != nil {
			return nil, err
		}
		msgs[i].Endpoint = e.Name
	}
	return msgs, nil
}

func (t *Topic) receipts(list []Receipt) []TopicReceipt {
	if list == nil {
		return nil
	}
	out := make([]TopicReceipt, len(list))
	for i, r := range list {
		out[i] = TopicReceipt{Receipt: r, Endpoint: t.Endpoints[i]}
	}
	return out
}

// milliseconds cuts a time to what is stored of it.
func milliseconds(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }

func noTopic(name string) error { return fmt.Errorf("%w: %q", ErrNoTopic, clip(name)) }

func checkTopic(name string) error {
	if name == "" {
		return invalid("Topic", "it has no name")
	}
	return checkName("Topic", name)
}

func checkEndpoints(list []Endpoint) error {
	if len(list) == 0 {
		return invalid("Endpoints", "there are none")
	}
	for i, e := range list {
		err := checkName("Name", e.Name)
		if err == nil {
			err = checkURL(e.URL)
		}
		var bad *InvalidError
		switch {
		case errors.As(err, &bad): // whose field would be taken for one of the message's
			return invalid("Endpoints", "endpoint %d: %s: %s", i, strings.ToLower(bad.Field), bad.Reason)
		case err != nil:
			return fmt.Errorf("endpoint %d: %w", i, err)
		}
	}
	return nil
}

// add adds an endpoint, or changes the one that has its name or its URL.
func (t *Topic) add(e Endpoint) error {
	byName := slices.IndexFunc(t.Endpoints, func(have Endpoint) bool { return e.Name != "" && have.Name == e.Name })
	byURL := slices.IndexFunc(t.Endpoints, func(have Endpoint) bool { return have.URL == e.URL })
	switch {
	case byName < 0 && byURL < 0:
		t.Endpoints = append(t.Endpoints, e)
	case byName >= 0 && byURL >= 0 && byName != byURL:
		return invalid("Endpoints", "%q is the URL of an endpoint that is not %q", clip(e.URL), clip(e.Name))
	case byName >= 0:
		t.Endpoints[byName].URL = e.URL
	case e.Name != "":
		t.Endpoints[byURL].Name = e.Name
	}
	return nil
}

// isNamed tells whether e is what is asked for.
func (e Endpoint) isNamed(by Endpoint) bool {
	return (by.Name == "" || by.Name == e.Name) && (by.URL == "" || by.URL == e.URL)
}

func (t *Topic) clone() Topic {
	c := *t
	c.Endpoints, c.Defaults = slices.Clone(t.Endpoints), cloneHeader(t.Defaults)
	return c
}

// beginTopics begins a call that needs the topics; it is ended unless that fails.
func (b *Broker) beginTopics(ctx context.Context) (Keeper, error) {
	k, err := asEngine[Keeper](b, ctx)
	if err != nil {
		return nil, err
	}
	if err := b.fillTopics(ctx, k); err != nil {
		b.end()
		return nil, err
	}
	return k, nil
}

func (b *Broker) fillTopics(ctx context.Context, k Keeper) error {
	return b.topics.fill(b.revision(ObjectTopic), func() ([]Object, error) { return k.Objects(ctx, ObjectTopic) }, decodeTopic)
}

func (b *Broker) findTopic(name string) (*Topic, error) {
	t, found, err := b.topics.find(name)
	if err == nil && !found {
		err = noTopic(name)
	}
	return t, err
}

// changeTopic makes a change of a copy the truth. Where others change topics, too, it
// is made of what they have left.
func (b *Broker) changeTopic(ctx context.Context, name string, change topicChange) (t Topic, err error) {
	k, err := b.beginTopics(ctx)
	if err != nil {
		return Topic{}, err
	}
	defer b.end()
	b.topics.turn.Lock()
	defer b.topics.turn.Unlock()
	err = b.untilUnchanged(ctx, func() error {
		t, err = b.tryTopic(ctx, k, name, change)
		return err
	})
	return t, err
}

// topicChange changes a topic that was found, or not, or cannot be used.
type topicChange func(t *Topic, found bool, fault error) error

func (b *Broker) tryTopic(ctx context.Context, k Keeper, name string, change topicChange) (Topic, error) {
	now := milliseconds(b.clock.Now())
	t := Topic{Name: name, CreatedAt: now}
	have, err := b.currentTopic(ctx, name)
	if err != nil {
		return Topic{}, err
	}
	if have.found && have.fault == nil {
		t = have.value.clone()
	}
	if err := change(&t, have.found, have.fault); err != nil {
		return Topic{}, err
	}
	t.UpdatedAt = now
	return t, b.storeTopic(ctx, k, &t, have, now)
}

// currentTopic returns a topic as it is now.
func (b *Broker) currentTopic(ctx context.Context, name string) (c current[*Topic], err error) {
	c = b.topics.known(name)
	if b.shared == nil {
		return c, nil
	}
	o, err := b.shared.Object(ctx, ObjectTopic, name)
	if err != nil {
		return c, err
	}
	c.was = []Object{o}
	c.value, c.found, c.fault = nil, o.Value != nil, nil
	if c.found {
		if c.value, err = decodeTopic(o); err != nil {
			c.fault = faultOf(name, err)
		}
	}
	return c, nil
}

func (b *Broker) storeTopic(ctx context.Context, k Keeper, t *Topic, have current[*Topic], now time.Time) error {
	o := Object{Kind: ObjectTopic, Name: t.Name}
	if len(t.Endpoints) > 0 {
		o.Value = encodeTopic(t)
	}
	if _, err := k.Apply(ctx, Change{Objects: []Object{o}, If: have.was, Now: now}); err != nil {
		return err
	}
	if o.Value == nil {
		b.topics.forget(t.Name, have.reads)
		return nil
	}
	kept := t.clone()
	b.topics.remember(t.Name, &kept, have.reads)
	return nil
}

// storedTopic is the value of a topic's object. Times are in milliseconds.
type storedTopic struct {
	Endpoints []Endpoint  `json:"endpoints"`
	Defaults  http.Header `json:"defaults,omitempty"`
	Created   int64       `json:"created"`
	Updated   int64       `json:"updated"`
}

func encodeTopic(t *Topic) []byte {
	return encodeJSON(storedTopic{t.Endpoints, t.Defaults, t.CreatedAt.UnixMilli(), t.UpdatedAt.UnixMilli()})
}

func decodeTopic(o Object) (*Topic, error) {
	var s storedTopic
	if err := json.Unmarshal(o.Value, &s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := checkEndpoints(s.Endpoints); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return &Topic{
		Name: o.Name, Endpoints: s.Endpoints, Defaults: s.Defaults,
		CreatedAt: time.UnixMilli(s.Created), UpdatedAt: time.UnixMilli(s.Updated),
	}, nil
}
