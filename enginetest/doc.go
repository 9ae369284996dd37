// Package enginetest holds the contract of [recall.Engine] as a test suite
// that every engine passes unchanged, a naive engine to compare others with,
// and a wrapper that makes an engine fail or hesitate.
//
// An engine's own test opens it and hands it over:
//
//	func TestContract(t *testing.T) {
//		enginetest.Run(t, func(t testing.TB) enginetest.Harness {
//			return enginetest.Harness{Engine: open(t)}
//		})
//	}
//
// The suite reads no clock and never sleeps: it passes fixed times to the
// engine. With the environment variable RECALL_SOAK set, its concurrent and
// random parts are larger.
package enginetest
