package postgres

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// columns are what messageRow reads of a message m and its payload p; the state comes
// before.
const columns = `m.id, m.due_ms, m.created_ms, m.attempts, m.priority, m.queue, m.url, m.topic, m.schedule, m.ip, m.flow_key,
	m.labels, p.spec, p.body`

// scanner is a row.
type scanner interface{ Scan(...any) error }

// scanMessage reads the state and the columns of one message.
func scanMessage(row pgx.CollectableRow) (recall.Message, error) { return readMessage(row) }

// readMessage reads more values in front of the state and the columns.
func readMessage(row scanner, front ...any) (m recall.Message, err error) {
	var id [16]byte
	var due, created int64
	var text []byte
	var state *string
	err = row.Scan(append(front, &state, &id, &due, &created, &m.Attempts, &m.Priority, &m.Queue, &m.URL, &m.Topic,
		&m.ScheduleID, &m.CallerIP, &m.FlowKey, &m.Labels, &text, &m.Body)...)
	if err != nil {
		return m, err
	}
	m.ID, m.DueAt, m.CreatedAt = messageID(id), fromMS(due), fromMS(created)
	if err := readSpec(text, &m); err != nil {
		return m, err
	}
	if state != nil {
		m.State = recall.State(*state)
	}
	if len(m.Labels) == 0 {
		m.Labels = nil
	}
	return m, nil
}

// readSpec fills in what is kept beside the body.
func readSpec(text []byte, m *recall.Message) error {
	var s spec
	if err := json.Unmarshal(text, &s); err != nil {
		return corrupt("the payload of "+string(m.ID), err)
	}
	s.addTo(m)
	return nil
}

func corrupt(what string, err error) error {
	return fmt.Errorf("%w: %s cannot be read: %w", recall.ErrCorrupt, what, err)
}

// attributes are the columns by which a message is found, in the order of
// attributeColumns.
const attributeColumns = `queue, url, host, hostname, path, topic, schedule, ip, addr, flow_key, labels`

func attributesOf(m *recall.Message) []any {
	host := hostOf(m.URL)
	ip, addr := sourceOf(m)
	labels := m.Labels
	if labels == nil {
		labels = []string{}
	}
	return []any{m.Queue, m.URL, host, withoutPort(host), pathOf(m.URL), m.Topic, m.ScheduleID, ip, addr, m.FlowKey, labels}
}

// sourceOf is where a message came from, as text and as what a range may contain.
func sourceOf(m *recall.Message) (ip string, addr *netip.Addr) {
	if m.CallerIP == "" {
		return "", nil
	}
	return canonicalIP(m.CallerIP), addressOf(m.CallerIP)
}

// placeOf is the message whose place in a queue a callback keeps; ” if it is its own.
func placeOf(m *recall.Message) (place string, id *[16]byte) {
	other := cmp.Or(m.Root, m.Source)
	if m.Blocks == "" || other == "" {
		return "", nil
	}
	if u, ok := parseMessageID(other); ok {
		id = &u
	}
	return string(other), id
}
