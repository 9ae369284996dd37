package postgres

import (
	"net/netip"
	"strings"
)

// messageColumns are rows of messages, column by column.
type messageColumns struct {
	ids               [][16]byte
	seqs, dues, times []int64
	priorities        []int16
	handlers          []string
	queues, urls      []string
	hosts, hostnames  []string
	paths, topics     []string
	schedules, ips    []string
	addrs             []*netip.Addr
	flows, labels     []string
	blocks, places    []string
	placeIDs          []*[16]byte
	sizes             []int32
}

// insertMessages takes the columns in the order of args. Labels come as the text of an
// array, because arrays of arrays have to be of one length.
const insertMessages = `INSERT INTO @messages (shard, id, seq, state, held, requested, due_ms, created_ms, attempts, priority, handler,
		` + attributeColumns + `, blocks, place, place_id, epoch, number, op, size)
	SELECT $1, x.id, x.seq, 0, false, false, x.due, x.created, 0, x.priority, x.handler,
		x.queue, x.url, x.host, x.hostname, x.path, x.topic, x.schedule, x.ip, x.addr, x.flow_key, x.labels::text[],
		x.blocks, x.place, x.place_id, 0, 0, NULL, x.size
	FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::smallint[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
		$12::text[], $13::text[], $14::text[], $15::text[], $16::inet[], $17::text[], $18::text[], $19::text[], $20::text[], $21::uuid[], $22::int[])
		AS x (id, seq, due, created, priority, handler, queue, url, host, hostname, path, topic, schedule, ip, addr, flow_key, labels,
			blocks, place, place_id, size)`

func (c *messageColumns) add(v *arrival) {
	m := &v.m
	host := hostOf(m.URL)
	ip, addr := sourceOf(m)
	place, placeID := placeOf(m)
	c.ids = append(c.ids, v.id)
	c.seqs = append(c.seqs, int64(v.seq))
	c.dues, c.times = append(c.dues, toMS(m.DueAt)), append(c.times, toMS(m.CreatedAt))
	c.priorities = append(c.priorities, int16(m.Priority))
	c.handlers = append(c.handlers, handlerOf(m.URL))
	c.queues, c.urls = append(c.queues, m.Queue), append(c.urls, m.URL)
	c.hosts, c.hostnames = append(c.hosts, host), append(c.hostnames, withoutPort(host))
	c.paths, c.topics = append(c.paths, pathOf(m.URL)), append(c.topics, m.Topic)
	c.schedules, c.ips, c.addrs = append(c.schedules, m.ScheduleID), append(c.ips, ip), append(c.addrs, addr)
	c.flows, c.labels = append(c.flows, m.FlowKey), append(c.labels, arrayText(m.Labels))
	c.blocks, c.places, c.placeIDs = append(c.blocks, m.Blocks), append(c.places, place), append(c.placeIDs, placeID)
	c.sizes = append(c.sizes, int32(sizeOf(m)))
}

func (c *messageColumns) args() []any {
	return []any{
		c.ids, c.seqs, c.dues, c.times, c.priorities, c.handlers, c.queues, c.urls, c.hosts, c.hostnames, c.paths, c.topics,
		c.schedules, c.ips, c.addrs, c.flows, c.labels, c.blocks, c.places, c.placeIDs, c.sizes,
	}
}

// arrayText is how PostgreSQL writes an array of texts.
func arrayText(list []string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range list {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		b.WriteString(arrayQuotes.Replace(s))
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var arrayQuotes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)
