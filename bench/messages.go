package main

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/recallmq/recall"
)

// shape makes message i of n, always the same one. Labels and the other fields
// are spread evenly over the file; queues are contiguous stretches of it.
type shape struct {
	n          int
	uniqueURLs bool
	due        func(i int) time.Time          // zero means at once
	local      bool                           // for the handler of this process, with no other field
	url        string                         // the one destination, if not empty
	dress      func(i int, m *recall.Message) // puts on other fields, if not nil
}

const (
	labelCount    = 10 // each on every 10th message
	markCount     = 10 // each on every 1000th
	queueCount    = 10
	topicCount    = 20
	addressCount  = 50
	scheduleCount = 100
	urlCount      = 10_000

	bodyMin, bodyMean = 320, 640
	headerHost        = "api.example.com"
	sink              = "local:sink"
)

// The names are made once, so that making a message costs next to nothing.
var (
	labelNames = names(labelCount, "label-%d")
	markNames  = names(markCount, "mark-%d")
	queues     = names(queueCount, "queue-%d")
	topics     = names(topicCount, "topic-%02d")
	schedules  = names(scheduleCount, "scd_%03d")
	addresses  = names(addressCount, "192.0.2.%d")
	urls       = names(urlCount, "https://"+headerHost+"/hooks/%06d")
	labelSets  = makeLabelSets()
	bodyPool   = makeBodies()
)

func names(n int, format string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf(format, i)
	}
	return out
}

// makeLabelSets returns the label lists of messages 0 to 999, which repeat.
func makeLabelSets() [][]string {
	const period = labelCount * 10 * markCount
	sets := make([][]string, period)
	for i := range sets {
		sets[i] = labelNames[labelOf(i) : labelOf(i)+1]
		if m := markOf(i); m >= 0 {
			sets[i] = []string{labelNames[labelOf(i)], markNames[m]}
		}
	}
	return sets
}

func makeBodies() []byte {
	pool := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range pool {
		pool[i] = byte('a' + random.IntN(26)) // text, as most bodies are
	}
	return pool
}

func labelOf(i int) int { return i % labelCount }

// markOf returns the rarer label of message i, or -1: each of the ten marks is
// on every 1000th message.
func markOf(i int) int {
	if i%100 != 99 {
		return -1
	}
	return i / 100 % markCount
}

// The other fields change slower than the label, so that they cut across it.
func addressOf(i int) int  { return i / 10 % addressCount }
func topicOf(i int) int    { return i / 7 % topicCount }
func scheduleOf(i int) int { return i / 3 % scheduleCount }

func (s shape) queueOf(i int) int { return min(i*queueCount/s.n, queueCount-1) }

// bodyOf returns 320 to 959 bytes, 640 on average.
func bodyOf(i int) []byte {
	h := uint32(i) * 2654435761
	size := bodyMin + int(h>>8)%(2*(bodyMean-bodyMin))
	at := int(h) % (len(bodyPool) - size)
	if at < 0 {
		at = -at
	}
	return bodyPool[at : at+size]
}

func (s shape) message(i int) recall.Message {
	m := recall.Message{Body: bodyOf(i)}
	if s.due != nil {
		m.NotBefore = s.due(i)
	}
	if s.local {
		m.URL = sink
		return m
	}
	m.URL = urls[i*7919%urlCount] // a prime stride: neighbours go to different places
	if s.uniqueURLs {
		m.URL = fmt.Sprintf("https://"+headerHost+"/hooks/%014d", i)
	}
	if s.url != "" { // they are delivered, and a queue would do so one by one
		m.URL = s.url
	} else {
		m.Queue = queues[s.queueOf(i%s.n)]
	}
	m.Topic = topics[topicOf(i)]
	m.ScheduleID = schedules[scheduleOf(i)]
	m.CallerIP = addresses[addressOf(i)]
	m.Labels = labelSets[i%len(labelSets)]
	if s.dress != nil {
		s.dress(i, &m)
	}
	return m
}

// later returns due times from an hour on, spread over a day in an order that
// has nothing to do with the order of creation.
func later(from time.Time) func(int) time.Time {
	const day = uint64(24 * time.Hour / time.Millisecond)
	return func(i int) time.Time {
		ms := uint64(i) * 2654435761 % day
		return from.Add(time.Hour + time.Duration(ms)*time.Millisecond)
	}
}

// overdue returns due times that have passed: in the order of creation, or
// shuffled, as delayed messages fall due in life.
func overdue(n int, shuffled bool) func(int) time.Time {
	from := time.Now().Add(-24 * time.Hour).Truncate(time.Millisecond)
	rank := func(i int) int { return i }
	if shuffled {
		perm := rand.New(rand.NewPCG(3, 4)).Perm(n)
		rank = func(i int) int { return perm[i] }
	}
	return func(i int) time.Time { return from.Add(time.Duration(rank(i)) * time.Millisecond) }
}
