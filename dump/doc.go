// Package dump writes a queue as lines of JSON and reads it into another engine:
//
//	n, err := dump.Export(ctx, from, file, time.Now(), nil)
//	…
//	report, err := dump.Import(ctx, to, file, time.Now(), nil)
//
// Engines are those of [recall.OpenEngine] and package postgres, without a broker on
// them. "recall export" and "recall import" do the same.
//
// # What is moved
//
// Live messages, with their ids, when they are due, the attempts that they have had,
// whether they are held, and all that publishers set; dead letters; queues, topics,
// schedules with the time when they are next due, and flow-control keys; standing
// cancellations; and the signing keys of package qstash. What is in flight is moved as
// pending, and its attempt counts.
//
// Not moved are events, the records of cancellations and what could undo them,
// deduplication ids, and what programs keep in buckets of their own: only they know
// what it means.
//
// # The format
//
// The first line names the format and the dump, the last one counts the others. Between
// them each line is an object with one member: "object", "standing", "row", "message" or
// "dead". A reader of this version refuses lines that it does not know.
package dump
