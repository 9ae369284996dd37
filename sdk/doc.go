// Package sdk has no code of its own. Its tests run Upstash's official SDKs
// against recall dev: the JavaScript one as npm brings it, and the requests of
// those for Python and Go from files, byte for byte. What they find is the
// table in docs/qstash.md.
//
// With -update the table is rewritten from what the tests found. With
// RECALL_SDK_LATEST set, as make sdk-latest does, the newest JavaScript SDK is
// tried instead of those that the lockfile fixes.
package sdk
