package main

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/recallmq/recall/bench/peer"
)

// peerBody is the length of every body that peers keep.
const peerBody = 512

// peerPool is text that hardly compresses: a character has six random bits.
var peerPool = makePeerPool()

func makePeerPool() []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	pool := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(5, 6))
	for i := range pool {
		pool[i] = alphabet[random.IntN(len(alphabet))]
	}
	return pool
}

// peerHash scatters numbers.
func peerHash(i int) int { return int(uint32(i) * 2654435761 >> 8) }

// peerLabel scatters the ten labels over the messages.
func peerLabel(i int) string { return peer.Labels[peerHash(i)%labelCount] }

// labelled counts the messages below n that have a label.
func labelled(n int, label string) (count int) {
	for i := range n {
		if peerLabel(i) == label {
			count++
		}
	}
	return count
}

// peerText is as long as the body of a message.
func peerText(i int) []byte {
	at := peerHash(i) % (len(peerPool) - peerBody)
	return peerPool[at : at+peerBody]
}

// peerMessage makes message i, due at that time, or at once if it is zero. The
// time is in the body, for the handler.
func peerMessage(i int, due time.Time) peer.Message {
	body := make([]byte, 0, peerBody)
	body = hex.AppendEncode(body, binary.BigEndian.AppendUint64(nil, uint64(due.UnixNano())))
	body = append(body, peerText(i)[len(body):]...)
	return peer.Message{
		Number: i, Due: due, Body: body, Label: peerLabel(i),
		URL:   peer.URLs[i%len(peer.URLs)],
		Topic: topics[topicOf(i)], Schedule: schedules[scheduleOf(i)], IP: addresses[addressOf(i)],
	}
}

// dueOf reads the time back.
func dueOf(body []byte) (time.Time, error) {
	const digits = 16
	if len(body) != peerBody {
		return time.Time{}, fmt.Errorf("a body came with %d bytes, not %d", len(body), peerBody)
	}
	raw, err := hex.DecodeString(string(body[:digits]))
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(raw))), nil
}

const (
	peerBatch   = 1000
	peerBatches = 4   // goroutines that publish batches where it is to be fast
	peerSingles = 256 // goroutines that publish one by one where there are no batches
)

// publishFast publishes n messages the fastest durable way that a peer has.
func publishFast(q peer.Queue, n int, due func(i int) time.Time) error {
	err := publishBatched(q, n, due)
	var cannot *peer.CannotError
	if !errors.As(err, &cannot) {
		return err
	}
	return spreadOver(peerSingles, n, 1, func(from, to int) error { return q.Publish(bg, peerMessage(from, due(from))) })
}

func publishBatched(q peer.Queue, n int, due func(i int) time.Time) error {
	return spreadOver(peerBatches, n, peerBatch, func(from, to int) error {
		return q.PublishBatch(bg, peerMessages(from, to, due))
	})
}

func peerMessages(from, to int, due func(i int) time.Time) []peer.Message {
	msgs := make([]peer.Message, 0, to-from)
	for i := from; i < to; i++ {
		msgs = append(msgs, peerMessage(i, due(i)))
	}
	return msgs
}

func atOnce(int) time.Time { return time.Time{} }

// spreadOver hands the numbers below n to so many goroutines, in parts of that
// size.
func spreadOver(workers, n, size int, do func(from, to int) error) error {
	var next atomic.Int64
	errs := make(chan error, workers)
	for range workers {
		go func() {
			for {
				from := int(next.Add(int64(size))) - size
				if from >= n {
					errs <- nil
					return
				}
				if err := do(from, min(from+size, n)); err != nil {
					errs <- err
					return
				}
			}
		}()
	}
	var all error
	for range workers {
		all = errors.Join(all, <-errs)
	}
	return all
}
