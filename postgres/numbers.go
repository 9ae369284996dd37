package postgres

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// numbers is what the shards of one queue have in common in this process: the ids that
// they give out are in the order in which they did so. Each shard counts by itself, in
// its row of the counters; a process that has seen a number of one shard has the others
// go on behind it. So ids of one millisecond are in order, too, whatever shard they are
// of; between processes they are so up to how their clocks differ.
type numbers struct {
	shards  int // of the queue
	mu      sync.Mutex
	message int64     // the largest number of a message
	ms      int64     // the largest time in the id of one
	dead    int64     // of a dead letter
	opTime  time.Time // largest time in the id of an operation
	opTie   uint64
}

// MaxShards is how many shards a queue has at most: an id has a byte for them.
const MaxShards = 256

// many tells whether the queue has more than one shard: then its numbers name them.
func (n *numbers) many() bool { return n.shards > 1 }

// messageFloor is a number, and a time, behind which those of the next message have to
// be.
func (n *numbers) messageFloor() (number, ms int64) {
	if !n.many() {
		return 0, 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.message, n.ms
}

func (n *numbers) sawMessage(number, ms int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.message, n.ms = max(n.message, number), max(n.ms, ms)
}

// A number of a dead letter or of an event has the shard in its last byte. What is above
// counts on from the time, so that numbers of all shards have one order, which is that
// of time.
const (
	shardBits = 8
	tieBits   = 10 // below a millisecond
)

// deadStep is what the number of the next dead letter of a shard is at least above the
// last one of that shard, and at least in itself.
func (n *numbers) deadStep(shard int16, ms int64) (step, floor int64) {
	if !n.many() {
		return 1, 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return 1 << shardBits, max(ms<<tieBits, n.dead>>shardBits+1)<<shardBits | int64(shard)
}

func (n *numbers) sawDead(number int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = max(n.dead, number)
}

// newMessageID makes the id of a message from its number: the time, six bytes of the
// number, and four that nobody can guess. If the queue has more than one shard the last
// of the six is the shard.
func (n *numbers) newMessageID(shard int16, ms int64, seq uint64) [16]byte {
	var u ulid.ULID
	_ = u.SetTime(uint64(max(0, ms))) // fails only after the year 10889
	if n.many() {
		seq = seq<<shardBits | uint64(shard)
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], seq)
	copy(u[6:12], b[2:])
	_, _ = rand.Read(u[12:]) // never fails
	return u
}

// shardOf is the shard in the id of a message. In one of another engine it may be one that
// there is not.
func (n *numbers) shardOf(id [16]byte) int {
	if !n.many() {
		return 0
	}
	return int(id[11])
}

// newOperation makes the id of an operation. Those of one process are in the order of
// the calls, whatever the clock does; those of several up to how their clocks differ.
func (n *numbers) newOperation(now time.Time) [16]byte {
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.After(n.opTime) {
		n.opTime = now
	}
	n.opTie++
	var u ulid.ULID
	_ = u.SetTime(uint64(max(0, n.opTime.UnixMilli()))) // as above
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n.opTie)
	copy(u[6:11], b[3:])
	_, _ = rand.Read(u[11:]) // never fails
	return u
}

// sawOperation has the ids of operations go on behind one.
func (n *numbers) sawOperation(id [16]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch at := ulidTime(id); {
	case at.After(n.opTime):
		n.opTime, n.opTie = at, operationTie(id)
	case at.Equal(n.opTime):
		n.opTie = max(n.opTie, operationTie(id))
	}
}

// operationTie is the number in the id of an operation, by which those of one
// millisecond are in order.
func operationTie(id [16]byte) uint64 {
	return binary.BigEndian.Uint64(append(make([]byte, 3, 8), id[6:11]...))
}
