package postgres

import (
	"context"
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

// sameSchema refuses a DSN that names another schema than the options: the shards of a
// queue have one name for theirs.
func (o *Options) sameSchema(dsn string) error {
	_, schema, err := parseDSN(dsn)
	if err == nil && schema != "" && schema != o.Schema {
		err = invalid("Options.Schema", "it is %q, and a DSN says %q", o.Schema, schema)
	}
	return err
}

// newPool makes a pool for the address of a database.
func newPool(ctx context.Context, dsn string) (*pgxpool.Pool, error) {
	config, _, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	Configure(config)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	return pool, nil
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
