package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
)

// schemaParameter names the schema in a DSN. It is not one of pgx, which would tell
// the server about it.
const schemaParameter = "schema"

// errDSN stands for what pgx says about a DSN that it cannot read: that may have parts
// of the password in it.
var errDSN = invalid("DSN", "it cannot be read (it is not shown, for it may have a password in it); "+
	"a DSN is postgres://user@host:5432/database?schema=recall, and in a password / ? # @ : and %% are written as %%2F %%3F %%23 %%40 %%3A and %%25")

// parseDSN reads a DSN, and takes the name of a schema out of it.
func parseDSN(dsn string) (config *pgxpool.Config, schema string, err error) {
	if config, err = pgxpool.ParseConfig(dsn); err != nil {
		return nil, "", errDSN
	}
	params := config.ConnConfig.RuntimeParams
	schema = params[schemaParameter]
	delete(params, schemaParameter)
	return config, schema, nil
}

// takeSchema has options name the schema of a DSN, if that names one. Options that the
// caller gave have to name the same, or none.
func (o *Options) takeSchema(dsn string, given *Options) error {
	_, schema, err := parseDSN(dsn)
	if err != nil || schema == "" {
		return err
	}
	if given != nil && given.Schema != "" && given.Schema != schema {
		return invalid("Options.Schema", "it is %q, and the DSN says %q", given.Schema, schema)
	}
	o.Schema = schema
	return o.check()
}

// commonSchema has options name the schema that the DSNs of a queue of several shards
// name, which is one for all of them.
func commonSchema[T string | *pgxpool.Pool](opts *Options, targets []T, given *Options) error {
	first := ""
	for i, t := range targets {
		dsn, ok := any(t).(string)
		if !ok {
			continue
		}
		own := *opts
		if err := own.takeSchema(dsn, given); err != nil {
			return fmt.Errorf("database %d: %w", i, err)
		}
		if first = cmp.Or(first, own.Schema); own.Schema != first {
			return fmt.Errorf("database %d: %w", i, invalid("Options.Schema", "it is %q, and %q in a database before it: the schema has one name in all of them", own.Schema, first))
		}
	}
	opts.Schema = cmp.Or(first, opts.Schema)
	return nil
}

// newPool makes a pool for the address of a database.
func newPool(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	config, _, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	Configure(config)
	watchSilence(config)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return pool, nil
}

// watchSilence has connections given up on which nothing comes back.
func watchSilence(c *pgxpool.Config) {
	c.PingTimeout = cmp.Or(c.PingTimeout, silence)
	c.ConnConfig.DialFunc = dialer.DialContext
}

// Ping asks the database for a sign of life. Errors: those of the connection,
// [recall.ErrClosed], that of ctx. Safe for concurrent use.
func (e *Engine) Ping(ctx context.Context) error {
	if err := e.enter(ctx); err != nil {
		return err
	}
	defer e.leave()
	return e.pool.Ping(ctx)
}

// Ping asks the databases for a sign of life. One that answers is enough: publishing and
// claims go on with those that do. Errors: those of the connections if none answers,
// [recall.ErrClosed], that of ctx. Safe for concurrent use.
func (s *Sharded) Ping(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the others need not be waited for
	answers := make(chan error, len(s.targets))
	for _, t := range s.targets {
		go func() { answers <- s.at(t, s.shards[t.place].Ping(ctx)) }()
	}
	var errs []error
	for range s.targets {
		err := <-answers
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Describe says which queue a DSN is about, for people: host, port, database and
// schema, without user and password.
//
// Errors: [recall.ErrInvalid] for what cannot be read; the text does not have the DSN
// in it.
func Describe(dsn string) (string, error) {
	config, schema, err := parseDSN(dsn)
	if err != nil {
		return "", err
	}
	if schema == "" {
		schema = DefaultSchema
	}
	if !schemaName.MatchString(schema) {
		return "", invalid("DSN", "the schema %q is not letters, digits and underscores", schema)
	}
	c := config.ConnConfig
	return fmt.Sprintf("postgres://%s:%d/%s?schema=%s", c.Host, c.Port, c.Database, schema), nil
}
