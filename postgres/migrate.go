package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migrations returns the statements of each version, in order: version n is the
// n-th file.
func migrations() ([]string, error) {
	names, err := fs.Glob(schemaFiles, "schema/*.sql")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, name := range names {
		text, err := schemaFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return all, nil
}

// migrate brings the schema to the newest version. Any number of processes may do
// so at once: one works, while the others wait for its row lock and then find the
// work done.
func (e *Engine) migrate(ctx context.Context, pool *pgxpool.Pool, shards int) error {
	if err := e.prepare(ctx, pool, shards); err != nil {
		return fmt.Errorf("postgres: preparing the schema: %w", err)
	}
	all, err := migrations()
	if err != nil {
		return err
	}
	upgrade := func(tx pgx.Tx) error {
		var version, have int
		err := tx.QueryRow(ctx, e.sql(`SELECT version, shards FROM @meta WHERE one FOR UPDATE`)).Scan(&version, &have)
		switch {
		case err != nil:
			return err
		case version > len(all):
			return fmt.Errorf("%w: the schema has version %d, this program knows %d", recall.ErrVersion, version, len(all))
		case have != shards:
			return &recall.InvalidError{Field: "Options.Shards", Reason: fmt.Sprintf("the queue was made with %d shards, not %d: that cannot be changed", have, shards)}
		}
		if version < len(all) {
			if _, err := tx.Exec(ctx, `SELECT set_config('lock_timeout', '`+upgradePatience+`', true)`); err != nil {
				return err
			}
		}
		for i, text := range all[version:] {
			if _, err := tx.Exec(ctx, e.sql(text)); err != nil {
				return fmt.Errorf("postgres: migration %d: %w", version+i+1, err)
			}
		}
		if err := e.addCounters(ctx, tx); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, e.sql(`UPDATE @meta SET version = $1 WHERE one AND version < $1`), len(all))
		return err
	}
	for {
		err := again(ctx, deadlocked, func() error { return pgx.BeginFunc(ctx, pool, upgrade) })
		if !isLockTimeout(err) {
			return err
		}
		if err := sleep(ctx, upgradePause); err != nil {
			return err
		}
	}
}

// An upgrade waits for transactions that are open, and whoever begins one then waits behind
// the upgrade. So it gives up soon, lets them through, and tries again.
const (
	upgradePatience = "100ms"
	upgradePause    = time.Second
)

// prepare makes the row that migrations lock. Two processes that make a schema or a
// table at the same time may both find none: then one of them gets an error about a
// duplicate, and looks again. What is there is not asked for: a role that owns the schema
// may lack the right to make one, which the server wants even where it has nothing to do.
func (e *Engine) prepare(ctx context.Context, pool *pgxpool.Pool, shards int) error {
	var schema, table bool
	err := pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1),
		EXISTS (SELECT FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace WHERE s.nspname = $1 AND c.relname = 'meta')`,
		e.opts.Schema).Scan(&schema, &table)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		there bool
		text  string
	}{
		{schema, `CREATE SCHEMA IF NOT EXISTS ` + e.schema},
		{table, `CREATE TABLE IF NOT EXISTS @meta (one boolean PRIMARY KEY CHECK (one), version integer NOT NULL, shards integer NOT NULL)`},
	} {
		if part.there {
			continue
		}
		if err := again(ctx, duplicate, func() error { _, err := pool.Exec(ctx, e.sql(part.text)); return err }); err != nil {
			return err
		}
	}
	_, err = pool.Exec(ctx, e.sql(`INSERT INTO @meta VALUES (true, 0, $1) ON CONFLICT DO NOTHING`), shards)
	return err
}

// addCounters makes the counters that are not there. It does not wait for who has one of
// the others locked, as long as somebody publishes.
func (e *Engine) addCounters(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, e.sql(`INSERT INTO @counters (shard, name) SELECT $1, x.name FROM unnest($2::text[]) AS x (name)
		WHERE NOT EXISTS (SELECT FROM @counters c WHERE c.shard = $1 AND c.name = x.name) ON CONFLICT DO NOTHING`),
		e.shard, []string{counterMessage, counterDead, counterEvent, counterDedup, counterApart, counterTopics, counterSchedules})
	return err
}

// sql puts the schema's name before the names of tables.
func (e *Engine) sql(text string) string { return strings.ReplaceAll(text, "@", e.schema+".") }

// schemaOf is the name of the schema as statements have it.
func schemaOf(o *Options) string { return pgx.Identifier{o.Schema}.Sanitize() }
