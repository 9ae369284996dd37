package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// identity is what a database says of itself; the zero value, if it says nothing.
type identity struct {
	queue         [16]byte
	place, places int
	made          bool
}

func (id *identity) known() bool { return id.places > 0 }

// identify finds out whether the databases are those of one queue, in its order, and
// tells those of a new queue that they are. Until all were told nothing is served, so
// one that says nothing while another knows better has been replaced.
func (s *Sharded) identify(ctx context.Context) error {
	have, err := s.readIdentities(ctx)
	if err != nil {
		return err
	}
	queue := newQueueID()
	for _, id := range have {
		if id.known() {
			queue = id.queue // somebody was not done with making it
		}
	}
	for i, t := range s.targets {
		if !have[i].known() {
			if err := s.tellIdentity(ctx, t, queue); err != nil {
				return err
			}
		}
		if i == 0 { // whoever came first here has drawn it
			first, err := s.readIdentity(ctx, t)
			if err != nil {
				return err
			}
			queue = first.queue
		}
	}
	if have, err = s.readIdentities(ctx); err != nil {
		return err
	}
	s.queue = have[0].queue
	for i, t := range s.targets {
		if have[i].made {
			continue
		}
		if _, err := t.pool.Exec(ctx, s.sql(`UPDATE @identity SET made = true WHERE one`)); err != nil {
			return s.at(t, err)
		}
	}
	return nil
}

func newQueueID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}

// readIdentities reads what all say, and refuses those that do not belong together, or
// not so.
func (s *Sharded) readIdentities(ctx context.Context) ([]identity, error) {
	have, made := make([]identity, len(s.targets)), false
	for i, t := range s.targets {
		var err error
		if have[i], err = s.readIdentity(ctx, t); err != nil {
			return nil, err
		}
		made = made || have[i].made
	}
	var first *identity
	for i := range have {
		id := &have[i]
		switch {
		case !id.known() && made:
			return nil, invalid("targets", "database %d is none of this queue's: the queue was made, and this one knows nothing of it", i)
		case !id.known():
			continue
		case first == nil:
			first = id
		}
		switch {
		case id.queue != first.queue:
			return nil, invalid("targets", "database %d belongs to another queue than those before it", i)
		case id.places != len(have):
			return nil, invalid("targets", "the queue was made on %d databases, not %d: that cannot be changed", id.places, len(have))
		case id.place != i:
			return nil, invalid("targets", "database %d holds %s, so its place is %d: the order is another than when the queue was made",
				i, s.shardsAt(id.place), id.place)
		}
	}
	return have, nil
}

// shardsAt names the first shards of a place.
func (s *Sharded) shardsAt(place int) string {
	text := fmt.Sprint("shard ", place)
	if next := place + len(s.targets); next < s.opts.Shards {
		text += fmt.Sprint(", ", next)
		if next+len(s.targets) < s.opts.Shards {
			text += ", …"
		}
	}
	return text
}

func (s *Sharded) readIdentity(ctx context.Context, t *target) (id identity, err error) {
	err = t.pool.QueryRow(ctx, s.sql(`SELECT queue, place, places, made FROM @identity WHERE one`)).Scan(&id.queue, &id.place, &id.places, &id.made)
	if errors.Is(err, pgx.ErrNoRows) {
		return identity{}, nil
	}
	return id, s.at(t, err)
}

// tellIdentity has a database keep its identity, if it has none.
func (s *Sharded) tellIdentity(ctx context.Context, t *target, queue [16]byte) error {
	_, err := t.pool.Exec(ctx, s.sql(`INSERT INTO @identity (one, queue, place, places, made) VALUES (true, $1, $2, $3, false) ON CONFLICT DO NOTHING`),
		queue, t.place, len(s.targets))
	return s.at(t, err)
}

// sql puts the schema's name before the names of tables.
func (s *Sharded) sql(text string) string {
	return (&Engine{schema: schemaOf(&s.opts)}).sql(text)
}
