package postgres

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/recallmq/recall"
)

// Import implements [recall.Importer]. What has a queue or a flow-control key goes to the
// shard of that, as when it is published; a message with both is refused with
// [recall.ErrUnsupported]. Any other, and a dead letter without them, goes to the shard
// that its id names. A message with an id of another engine is found by it wherever it is.
//
// Each shard stores its part as one unit. If one fails after another the error is
// [recall.ErrFailed]. When the same batch is imported again, with the same Mark, those
// that have theirs pass it over; the Mark is there for Lookup once all have. Without a
// Mark dead letters come again.
func (s *Sharded) Import(ctx context.Context, batch recall.Import) (stored recall.Imported, err error) {
	leave, err := s.enter(ctx, s.shards)
	if err != nil {
		return stored, err
	}
	defer leave()
	if err := recall.CheckImport(&batch); err != nil {
		return stored, err
	}
	i := &sharedImport{s: s, batch: &batch, parts: make([]*importPart, len(s.shards))}
	_, first := s.numbers.deadStep(0, toMS(batch.Now))
	for shard, e := range s.shards {
		i.parts[shard] = &importPart{e: e, dead: deadPlaces{first: first >> shardBits}}
		i.parts[shard].batch.Mark, i.parts[shard].batch.Now = batch.Mark, batch.Now
	}
	if err := i.share(ctx); err != nil {
		return stored, err
	}
	return i.run(ctx)
}

// sharedImport is one import into several shards.
type sharedImport struct {
	s     *Sharded
	batch *recall.Import
	parts []*importPart // by shard
}

// importPart is what one shard gets of an import.
type importPart struct {
	e      *Engine
	batch  recall.Import
	dead   deadPlaces
	strays []stray // that this shard keeps rows of
}

func (p *importPart) empty() bool {
	return len(p.batch.Messages)+len(p.batch.Dead)+len(p.batch.Objects) == 0
}

// share gives each shard its part.
func (i *sharedImport) share(ctx context.Context) error {
	there, err := i.there(ctx)
	if err != nil {
		return err
	}
	for k := range i.batch.Messages {
		m := &i.batch.Messages[k]
		id, _ := parseMessageID(m.ID) // it was checked
		to, err := i.place(m)
		switch {
		case err != nil:
			return err
		case there[id]:
			continue
		}
		i.stray(id, to)
		to.batch.Messages = append(to.batch.Messages, *m)
	}
	for k := range i.batch.Dead {
		d := &i.batch.Dead[k]
		id, _ := parseMessageID(d.Message.ID) // as above
		to, err := i.place(&d.Message)
		if err != nil {
			return err
		}
		i.stray(id, to)
		to.batch.Dead = append(to.batch.Dead, *d)
		to.dead.places = append(to.dead.places, int64(k))
	}
	for k := range i.batch.Objects {
		o := &i.batch.Objects[k]
		to := i.parts[i.s.shardOfObject(o)]
		to.batch.Objects = append(to.batch.Objects, *o)
	}
	return nil
}

// place is the part that a message belongs to. No deduplication id comes with it.
func (i *sharedImport) place(m *recall.Message) (*importPart, error) {
	shard, err := i.s.route(&recall.Message{Queue: m.Queue, Blocks: m.Blocks, FlowKey: m.FlowKey})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.ID, err)
	}
	if shard == anywhere {
		shard = int(i.s.of(m.ID).shard)
	}
	return i.parts[shard], nil
}

// stray notes an id that does not name its shard, with the shard that it names.
func (i *sharedImport) stray(id [16]byte, to *importPart) {
	if home := i.s.homeOfID(id); home != to.e {
		p := i.parts[home.shard]
		p.strays = append(p.strays, stray{id, to.e.shard})
	}
}

// there are the ids of live messages that are in another shard than an import would put
// them into. The shard itself knows of the others.
func (i *sharedImport) there(ctx context.Context) (map[[16]byte]bool, error) {
	ids := make([]recall.MessageID, len(i.batch.Messages))
	for k := range ids {
		ids[k] = i.batch.Messages[k].ID
	}
	places, err := i.s.strays(ctx, ids)
	if err != nil {
		return nil, err
	}
	ask := map[*Engine][][16]byte{}
	for k := range i.batch.Messages {
		to, err := i.place(&i.batch.Messages[k])
		if err != nil {
			return nil, err
		}
		id, _ := parseMessageID(ids[k]) // it was checked
		for _, e := range append(places[id], i.s.homeOfID(id)) {
			if e != to.e {
				ask[e] = append(ask[e], id)
			}
		}
	}
	found, err := gather(i.s, i.s.shards, func(e *Engine) ([][16]byte, error) {
		if ask[e] == nil {
			return nil, nil
		}
		return collectFrom(ctx, e.pool, e, pgx.RowTo[[16]byte], `SELECT id FROM @messages WHERE shard = $1 AND id = ANY($2::uuid[])`, ask[e])
	})
	there := map[[16]byte]bool{}
	for _, id := range slices.Concat(found...) {
		there[id] = true
	}
	return there, err
}

// run stores the parts, that of shard 0 last: it has the mark of the whole.
func (i *sharedImport) run(ctx context.Context) (stored recall.Imported, err error) {
	_, err = gather(i.s, i.s.shards, func(e *Engine) (none struct{}, err error) {
		if p := i.parts[e.shard]; p.strays != nil {
			err = e.keepStrays(ctx, p.strays, i.batch.Now)
		}
		return none, err
	})
	if err != nil {
		return stored, err
	}
	var mu sync.Mutex
	done, todo := 0, 0
	one := func(e *Engine) (none struct{}, err error) {
		p := i.parts[e.shard]
		part, err := e.importAll(ctx, &p.batch, &p.dead)
		if err != nil {
			return none, err
		}
		mu.Lock()
		defer mu.Unlock()
		done++
		stored.Messages += part.Messages
		stored.Dead += part.Dead
		stored.Objects += part.Objects
		return none, nil
	}
	var before []*Engine
	for _, p := range i.parts[1:] {
		if !p.empty() {
			before = append(before, p.e)
		}
	}
	todo = len(before) + 1
	if _, err = gather(i.s, before, one); err == nil {
		_, err = gather(i.s, i.s.shards[:1], one)
	}
	if err != nil {
		return recall.Imported{}, partly(done, todo, "stored", err)
	}
	return stored, nil
}
