// Package postgres keeps the queue of package recall in PostgreSQL, so that
// several processes work on one queue:
//
//	engine, err := postgres.Open(ctx, "postgres://…", nil)
//	broker, err := recall.New(engine, nil)
//
// The messages, filters and guarantees are those of the embedded engine, but for
// what is said here.
//
// # What holds across processes
//
// No loss: Publish returns nil only after the commit. A message has one valid lease
// at a time; a stale owner can neither finish nor retry it. A message is counted by
// one cancellation only, and is not claimed afterwards. Messages of a shard have ids
// in the order of their commits, whichever process published them, as every
// publication holds one row of the shard until it is committed; those of
// [Engine.PublishTx], which holds nobody up, are an exception that is described there.
//
// Calls of one process that come at once share a transaction: publications do, and ends
// of attempts do. One that is refused does not concern the others.
//
// A bulk cancellation is a sequence of transactions, each of which locks the next
// matches in the order of publication and takes them: if the process ends in the
// middle, an exact prefix is cancelled, and the call may be made again for the rest.
// With a guard ([recall.ExpectAtMost], [recall.ExpectExactly]) it is one
// transaction, which locks every match before it counts; more than
// Options.MaxGuarded of them are [recall.ErrUnsupported]. All that holds for the calls
// that delete or retry dead letters by a filter, too.
//
// # Leases
//
// A process renews its claim to all that it has in flight every few seconds. When
// it has not done so for Options.LeaseTime by the clock of the database, its
// messages are pending again, and the attempts count. HTTP deliveries are outside of
// that: a process that was paused for longer may deliver once more what another one
// has taken over.
//
// # Hints
//
// Other processes learn by polling, every Options.PollInterval, that there may be
// something to claim, and that topics or schedules have changed. With Options.Listen
// they tell each other at once, by NOTIFY; then polling finds what is lost.
//
// # Time
//
// Everything goes by the clock of the database, as [Engine.Clock] shows it, unless
// recall.Options.Clock is set: what the clocks of processes show is of no account.
//
// # The server
//
// PostgreSQL 15 or newer, a primary, with fsync and synchronous_commit on, and a database
// in UTF-8; see [ServerError]. A call whose commit no longer waited for a synchronous standby, because
// somebody ended that wait, fails with a *recall.UnknownError, which matches
// [recall.ErrFailed]: a failover may undo it. See [Configure].
//
// # Several shards
//
// [OpenShards] spreads a queue over shards, on one or several databases: see [Sharded],
// which says what that changes.
//
// # What is not there yet
//
// [recall.Broker.Backup] is not supported: use the backups of the database.
package postgres
