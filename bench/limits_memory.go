package main

import (
	priority "container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// Limits of what has no commit: the least that the processor and the memory of the
// machine can do it in. Each is of a program that has nothing but the one answer in mind.

// worked is where results go, so that no compiler leaves their work out.
var worked uint64

// eachOf returns how long one of n calls takes, in ms.
func eachOf(n int, call func(i int)) float64 {
	start := time.Now()
	for i := range n {
		call(i)
	}
	return ms(time.Since(start)) / float64(n)
}

// lookup adds how long it takes to look one of ten thousand names up, under a lock: the
// least that a counter per value takes.
func (l *limits) lookup() {
	var mu sync.Mutex
	counters := make(map[string]uint64, len(urls))
	for i, name := range urls {
		counters[name] = uint64(i)
	}
	l.add(eachOf(100_000, func(i int) {
		mu.Lock()
		worked += counters[urls[i%len(urls)]]
		mu.Unlock()
	}))
}

// column adds how long it takes to read a number of each of so many messages, which are
// evenly spread over n: the least that looking at each takes.
func (l *limits) column(n, some int) {
	column := make([]uint32, n)
	for i := range column {
		column[i] = uint32(i)
	}
	step := max(1, n/max(1, some))
	l.add(eachOf(10, func(int) {
		for at := 0; at < n; at += step {
			if column[at]&1 == 1 {
				worked++
			}
		}
	}))
}

// marks adds how long it takes to change a number of each of so many messages, evenly
// spread over n, in ns for each.
func (l *limits) marks(n, some int) {
	column := make([]uint32, n)
	for i := range column {
		column[i] = 1
	}
	step := max(1, n/max(1, some))
	took, marked := eachOf(1, func(int) {
		for at := 0; at < n; at += step {
			column[at]++
		}
	}), (n+step-1)/step
	for at := 0; at < n; at += step {
		worked += uint64(column[at])
	}
	l.add(took * float64(time.Millisecond/time.Nanosecond) / float64(marked))
}

// earliest adds how long it takes to take the earliest of n times out and put another in.
func (l *limits) earliest(n int) {
	h := make(times, n)
	random := rand.New(rand.NewPCG(3, 4))
	for i := range h {
		h[i] = random.Int64()
	}
	priority.Init(&h)
	l.add(eachOf(claimTurn, func(int) {
		worked += uint64(priority.Pop(&h).(int64))
		priority.Push(&h, random.Int64())
	}))
}

// times are a heap.
type times []int64

func (h times) Len() int           { return len(h) }
func (h times) Less(i, j int) bool { return h[i] < h[j] }
func (h times) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *times) Push(x any)        { *h = append(*h, x.(int64)) }
func (h *times) Pop() (x any) {
	old := *h
	x, *h = old[len(old)-1], old[:len(old)-1]
	return x
}

// idBytes is the least that memory knows of a message: its id.
const idBytes = 16
