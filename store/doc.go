// Package store keeps Recall's messages in one bbolt file. It knows bytes and
// sequence numbers, never what they mean.
//
// # Layout
//
// Messages are kept in segments of 4,096 consecutive sequence numbers, of which
// the last are left out when the rows take too much room. The
// buckets "record" (hot rows of about 120 bytes) and "body" (headers and
// payload) hold one nested bucket per segment. Rows never change, and nothing
// is deleted row by row: a message that is delivered, cancelled or
// dead-lettered becomes a bit in its segment's row of "bitmap". A segment in
// which nothing lives is dropped whole, one below a quarter is rewritten.
//
// Bits are not set one by one either. Each commit appends to "journal" what it
// changed, in a few bytes per message, and each bulk cancellation is one record
// in "tombstone" with the set of numbers it took; folding turns both into bits
// later, many at a time. Retries, claims, holds and due times that were set by
// hand fold into "overlay".
//
// The set of a cancellation stays when it is folded: it says who took a message
// until the operation is dropped. Before the first step of its fold, a
// cancellation is undone by deleting the set. An operation that cancels
// messages on arrival notes their numbers too.
//
// Dead letters are a second set of segments with numbers of their own.
//
// Every row but a body fits one page, and bodies are cut to fit: rows that
// need contiguous pages would make the file grow without bound.
//
// The bucket "object" holds the small things beside messages, see
// [Tx.PutObject].
//
// The bucket "app" holds buckets of the caller's own, see [Tx.App].
//
// # Versions
//
// Version 1 of the layout had no holds, no due times set by hand, no numbers
// taken on arrival and fewer fields in the record of an operation, and it
// deleted sets as they were folded. Version 2 had no delays before retries, and
// version 3 no runs in sets and no objects. Their files are read; the first commit makes them
// version 4, which older code refuses. Version 5 has rows of messages that were imported
// with their ids; the first of them makes a file version 5, and no other file is.
//
// # Use
//
// One goroutine writes, with [Store.Begin]. Any number may read with
// [Store.View]. [Store.Load] rebuilds what memory needs.
package store
