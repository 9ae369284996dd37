package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Import implements [recall.Importer]. The id of a message is the key of its row: an
// imported one comes in walks where its id does. It holds up who publishes until it is
// committed.
func (e *Engine) Import(ctx context.Context, batch recall.Import) (stored recall.Imported, err error) {
	if err := e.enter(ctx); err != nil {
		return stored, err
	}
	defer e.leave()
	if err := recall.CheckImport(&batch); err != nil {
		return stored, err
	}
	return e.importAll(ctx, &batch, nil)
}

// deadPlaces say where the dead letters of a part come among those of the whole import:
// that of each, from 0 on, and the number of the shared order that the first has.
type deadPlaces struct {
	first  int64
	places []int64
}

// importAll imports a batch or, with dead, a part of one, unless that was done before: then
// its mark is there.
func (e *Engine) importAll(ctx context.Context, batch *recall.Import, dead *deadPlaces) (stored recall.Imported, err error) {
	err = e.do(ctx, func(u *unit) error {
		i := &importing{u: u, batch: batch, order: dead, out: u.batch()}
		if dead != nil && batch.Mark.Bucket != "" {
			done, err := i.marked()
			if u.nothing = done; err != nil || done {
				return err
			}
		}
		if err := i.all(); err != nil {
			return err
		}
		stored = i.stored
		return i.out.send()
	})
	if err != nil {
		return recall.Imported{}, err
	}
	return stored, nil
}

// importing is one import under way.
type importing struct {
	u      *unit
	batch  *recall.Import
	order  *deadPlaces // nil: as they come
	out    *batch
	stored recall.Imported
}

func (i *importing) all() error {
	var last, ms int64
	n := len(i.batch.Messages)
	if _, err := i.u.get(takeNumbers, i.u.numbersFor(n, i.newest(), i.batch.Now), &last, &ms); err != nil {
		return err
	}
	i.u.e.numbers.sawMessage(last, ms)
	i.u.claim = true
	for _, step := range []func() error{i.objects, func() error { return i.messages(uint64(last) - uint64(n)) }, i.dead, i.mark} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// newest is the time that ids of messages which are published later must not be before.
func (i *importing) newest() time.Time {
	at := i.batch.Now
	for k := range i.batch.Messages {
		if id, ok := parseMessageID(i.batch.Messages[k].ID); ok && ulidTime(id).After(at) {
			at = ulidTime(id)
		}
	}
	return at
}

// objects queues those that are not there.
func (i *importing) objects() error {
	var put []recall.Object
	for k := range i.batch.Objects {
		o := &i.batch.Objects[k]
		there, err := i.u.get(`SELECT FROM @objects WHERE shard = $1 AND kind = $2 AND name = $3`, []any{o.Kind, o.Name})
		if err != nil {
			return err
		}
		if there {
			continue
		}
		if err := i.u.put(i.out, o); err != nil {
			return err
		}
		put = append(put, *o)
	}
	i.stored.Objects = len(put)
	return i.u.countChanges(put)
}

// messages queues those that are not there, with numbers from one on.
func (i *importing) messages(seq uint64) error {
	there, err := i.there()
	if err != nil {
		return err
	}
	var list []*arrival
	rooms, queues := newRooms(), map[string]bool{}
	for k := range i.batch.Messages {
		m := &i.batch.Messages[k]
		id, _ := parseMessageID(m.ID) // it was checked
		if there[id] {
			continue
		}
		there[id] = true
		v, err := newArrival(m)
		if err != nil {
			return err
		}
		seq++
		v.seq, v.id, v.m.Attempts, v.m.State = seq, id, m.Attempts, m.State
		list = append(list, v)
		rooms.add(m.Queue, m.Blocks, m.FlowKey)
		queues[m.Queue] = true
	}
	delete(queues, "")
	storeMessages(i.out, list)
	i.states(list)
	makeQueues(i.out, slices.Sorted(maps.Keys(queues)), i.batch.Now)
	rooms.openQueues(i.out)
	rooms.makeFlows(i.out) // without the limits that messages once brought
	i.stored.Messages = len(list)
	i.u.ends.published += int64(len(list))
	return nil
}

// states queues what a new message has not: attempts, and that it is held.
func (i *importing) states(list []*arrival) {
	var ids [][16]byte
	var attempts []int32
	var held []bool
	for _, v := range list {
		if is := v.m.State == recall.StateHeld; is || v.m.Attempts > 0 {
			ids, attempts, held = append(ids, v.id), append(attempts, int32(v.m.Attempts)), append(held, is)
		}
	}
	if ids != nil {
		i.out.add(`UPDATE @messages m SET attempts = x.attempts, held = x.held FROM unnest($2::uuid[], $3::int[], $4::bool[]) AS x (id, attempts, held)
			WHERE m.shard = $1 AND m.id = x.id`, ids, attempts, held)
	}
}

// there are the ids of the batch that live messages have, and those that can come back.
func (i *importing) there() (map[[16]byte]bool, error) {
	ids := make([][16]byte, len(i.batch.Messages))
	for k := range ids {
		ids[k], _ = parseMessageID(i.batch.Messages[k].ID)
	}
	found, err := collect(i.u, pgx.RowTo[[16]byte], `SELECT id FROM @messages WHERE shard = $1 AND id = ANY($2::uuid[])`, ids)
	there := make(map[[16]byte]bool, len(found))
	for _, id := range found {
		there[id] = true
	}
	return there, err
}

// dead queues dead letters, with numbers of this queue.
func (i *importing) dead() error {
	if len(i.batch.Dead) == 0 {
		return nil
	}
	step, first := i.u.e.numbers.deadStep(i.u.e.shard, toMS(i.batch.Now))
	place := func(k int) int64 { return int64(k) }
	if i.order != nil && step > 1 {
		first = i.order.first<<shardBits | int64(i.u.e.shard)
		place = func(k int) int64 { return i.order.places[k] }
	}
	var last int64
	end := place(len(i.batch.Dead) - 1)
	_, err := i.u.get(`UPDATE @counters SET n = GREATEST(n + $2, $3) WHERE shard = $1 AND name = '`+counterDead+`' RETURNING n`,
		[]any{step * (end + 1), first + step*end}, &last)
	if err != nil {
		return err
	}
	i.u.e.numbers.sawDead(last)
	for k := range i.batch.Dead {
		d := &i.batch.Dead[k]
		m := d.Message
		m.Attempts = d.Attempts
		id, _ := parseMessageID(m.ID)
		if err := insertDead(i.out, last-step*(end-place(k)), id, &m, &recall.Finish{Now: d.DiedAt, Reason: d.Reason, Response: d.Response}); err != nil {
			return err
		}
	}
	i.stored.Dead = len(i.batch.Dead)
	i.u.maintain = true
	return nil
}

// marked tells whether the row of the caller is there as this batch would have it.
func (i *importing) marked() (bool, error) {
	mark := &i.batch.Mark
	return i.u.get(`SELECT FROM @buckets WHERE shard = $1 AND bucket = $2 AND hash = sha256($3) AND value = $4`,
		[]any{mark.Bucket, mark.Key, bytesOf(mark.Value)})
}

// mark queues the row of the caller.
func (i *importing) mark() error {
	mark := &i.batch.Mark
	if mark.Bucket == "" {
		return nil
	}
	i.out.add(`INSERT INTO @buckets (shard, bucket, hash, key, value) VALUES ($1, $2, sha256($3), $3, $4)
		ON CONFLICT (shard, bucket, hash) DO UPDATE SET value = EXCLUDED.value`, mark.Bucket, mark.Key, bytesOf(mark.Value))
	return nil
}
