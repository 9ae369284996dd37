// Package enginetest holds the contract of [recall.Engine] as a test suite
// that every engine passes unchanged, a naive engine to compare others with,
// and a wrapper that makes an engine fail or hesitate.
//
// An engine's own test hands over a function that opens one:
//
//	enginetest.Run(t, func(t *testing.T) enginetest.Harness { return fileHarness(t, d) })
//
// An engine on which several processes work at a time has more to show: its test starts
// processes that run a [Worker], kills some of them, and has [Case] judge what they wrote
// down. [Lockstep] tells random stories to two engines.
//
// The suite reads no clock and never sleeps: it passes fixed times to the
// engine. With the environment variable RECALL_SOAK set, its concurrent and
// random parts are larger; RECALL_SEED repeats a history of concurrent calls
// that failed.
package enginetest
