// Package recalltest is a QStash for tests: a real one, with a clock that the test
// moves, endpoints that it scripts, and nothing beyond the process.
//
//	s := recalltest.New(t)
//	s.Endpoint("https://api.example.com/hook").Respond(503, 503, 200)
//	programUnderTest(s.URL, s.Token) // it publishes to that address
//	s.Advance(time.Hour)
//	s.CheckDelivered(t, recalltest.Message{URL: "https://api.example.com/hook", Attempts: 3})
//	s.CheckNothingElse(t)
//
// What it runs is Recall itself: the broker, the engine and the HTTP API of package
// qstash. Retries, queues, schedules, flow control, callbacks, cancellations and
// their stop rule are those of production, and so are the answers. What differs
// from Upstash's QStash is listed in docs/testing.md.
//
// # Starting one
//
// [New] starts a server and closes it with the test: messages are in a temporary
// file that is never synced, nothing is read from the environment, and neither a
// file nor a goroutine is left. A test may have several, and tests with their own
// may run in parallel.
//
//   - By default it listens on a free port of the loopback interface.
//     [Server.URL] and [Server.Token] are what clients need, and [Server.Env] is
//     that for a child process, such as a suite that uses one of the SDKs.
//   - With [NoListener] there is no socket: [Server.Client] is an HTTP client that
//     reaches the server within the process, and [Server.Handler] what it calls.
//   - With [Bubble] it lives in a testing/synctest bubble, without sockets, and its
//     time is that of the bubble: the program's own timers and the queue agree.
//   - [Start] is for programs that are no tests.
//
// # Time
//
// Outside a bubble the clock of the server stands still until the test moves it.
// What is due is delivered at once, in the background; [Server.Settle] waits for
// that. [Server.Advance] moves the time on, from one thing that happens to the
// next, and returns when all that has become due was delivered: a year of a daily
// schedule takes a moment. [Server.AdvanceToNext] makes one such step, and
// [Server.Drain] goes on until no message waits. Attempts time out by this clock,
// and endpoints are slow by it.
//
// In a bubble the same methods sleep, and time.Sleep moves the queue as well.
//
// Only calls of the test move the time, so a call that waits for it – a
// cancellation with recall.Wait, say – has to be made in a goroutine of its own
// while the test advances. Bulk cancellations over QStash's API do not wait: where
// QStash gives messages in flight 300 ms, the server lets attempts end that are not
// held up by their endpoint, and then decides.
//
// # Endpoints
//
// [Server.Endpoint] scripts a destination, by its URL, whatever its host: statuses
// in turn, answers with headers and bodies, slow ones, none at all, broken
// connections, panics, a handler of the program under test, or another server of
// this machine. Each is one step, and the last is repeated. Requests are kept:
// [Endpoint.Requests] and [Server.Deliveries].
//
// A delivery to anything else fails the test instead of reaching the network. So
// does one to this machine, unless the server has [Loopback].
//
// # Order
//
// Attempts are made one after the other, in the order in which they are due, then
// in that of publication, each when the outcome of the one before is stored. So a
// test sees the same order in each run. [Shuffle] mixes what is due together, by a
// seed, [Seed] makes ids repeatable, and [Concurrent] gives order up.
//
// # Checks
//
// Checks wait for what is due, and then compare: [Server.CheckPublished],
// [Server.CheckDelivered], [Server.CheckCancelled]. A [Message] says what is
// expected; fields that are not set do not matter. A message stands for one that is
// expected, so three of a kind have to be named three times.
// [Server.CheckNothingElse] fails if a message was named by no check. A failure
// shows what was expected beside the message that is most like it, and how far that
// has come: see the example of [Server.CheckDelivered].
//
// Checks report to a [Reporter], of which *testing.T is one, so that helpers built
// on them can be tested.
//
// # Faults
//
// [Server.FailNext] makes the next calls of the API fail, [Server.BreakNext] breaks
// their connections off, [Server.LoseNext] carries them out and loses the answer,
// and [Server.FailCommits] makes the storage fail.
//
// # State
//
// [Server.Load] preloads messages, queues, topics and schedules from JSON,
// [Server.Dump] writes it, and [Server.Reset] makes the server as it was at first.
// Everything else that Recall can do is there in Go: [Server.Broker].
//
// # Other languages
//
// The server serves all of this over HTTP as well, under /recall/v1/test, and "recall
// dev --test-api" is such a server: see docs/testing.md.
package recalltest
