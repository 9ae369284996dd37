package recall

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"maps"
	"slices"
	"time"
)

// Bounds of deduplication.
const (
	// DefaultDeduplicationWindow is that of QStash.
	DefaultDeduplicationWindow = 10 * time.Minute
	// MaxDeduplicationWindow bounds Options.DeduplicationWindow.
	MaxDeduplicationWindow = 7 * 24 * time.Hour
	// DefaultMaxDeduplicationIDs takes up to 120 MB of memory when it is used up.
	DefaultMaxDeduplicationIDs = 1_000_000

	maxDeduplicationIDs = 100_000_000
)

// ErrDeduplicationFull is returned by calls that publish when as many
// deduplication ids are reserved as Options.MaxDeduplicationIDs allows: the call
// has published nothing, because its message could not be told from a duplicate
// later. It goes on when ids have expired; messages without an id are not
// concerned. It matches [ErrFull] too; a [*DeduplicationFullError] says which
// messages of a batch it was.
var ErrDeduplicationFull = fmt.Errorf("%w: no more deduplication ids can be reserved", ErrFull)

// DeduplicationFullError says which messages of a call had no room for their
// deduplication ids. Without these the others would have been published. It matches
// [ErrDeduplicationFull].
type DeduplicationFullError struct {
	Indexes []int // positions in the call, from 0, ascending; never empty
}

// Error implements error.
func (e *DeduplicationFullError) Error() string {
	return fmt.Sprintf("%v: for %d of the messages", ErrDeduplicationFull, len(e.Indexes))
}

// Unwrap returns [ErrDeduplicationFull].
func (e *DeduplicationFullError) Unwrap() error { return ErrDeduplicationFull }

// What engines are given as Message.DeduplicationID is an id of the program as it
// is, or begins with a control character, which such an id cannot have.
const (
	dedupContent  = "\x01" // and a hash of the content
	dedupEndpoint = "\x02" // and topic, URL and id, each behind one more
)

// setDeduplication decides what makes another message a duplicate of m, which is
// resolved but for that. An id goes before the content. The message of a topic
// has its id for itself, among those that go to the other endpoints.
func (m *Message) setDeduplication() {
	switch {
	case m.DeduplicationID != "" && m.Topic != "":
		m.DeduplicationID = dedupEndpoint + m.Topic + dedupEndpoint + m.URL + dedupEndpoint + m.DeduplicationID
	case m.DeduplicationID != "":
	case m.DeduplicateContent:
		m.DeduplicationID = dedupContent + m.contentHash()
	}
}

// contentHash is over topic, destination, body, and headers, the type of the content
// among them. Each part has its length before it, so that none is taken for the
// next.
func (m *Message) contentHash() string {
	h := sha256.New()
	hashPart(h, []byte(m.Topic))
	hashPart(h, []byte(m.URL))
	hashPart(h, m.Body)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		for _, v := range m.Header[name] {
			hashPart(h, []byte(name))
			hashPart(h, []byte(v))
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// hashPart writes to a hash, which never fails.
func hashPart(h hash.Hash, part []byte) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(part)))
	_, _ = h.Write(size[:])
	_, _ = h.Write(part)
}

// checkDeduplication checks the options.
func (o *Options) checkDeduplication() error {
	if w := o.DeduplicationWindow; w >= 0 && (w < time.Millisecond || w > MaxDeduplicationWindow) {
		return invalid("Options.DeduplicationWindow", "%v is not between 1ms and %v, or negative", w, MaxDeduplicationWindow)
	}
	return nil
}
