package store

import (
	"encoding/binary"
	"errors"
	"math"
)

// A set of numbers is kept as the first one and then distances, 1 or 2 bytes
// each. Cancelled sets are often regular – a queue, a range of dates, one
// customer in turn with others – so theirs may also have runs: a distance of 0,
// which no set has, then how many numbers follow, and the distance that they all
// have. The set of a cancellation of everything is a few bytes for each 4,096 messages then.
const (
	minRun = 8           // a shorter one takes no less as distances
	maxRun = segmentSize // numbers that a row of a set with runs may have: folding goes by rows
)

var errRun = errors.New("a run of no or too many numbers")

// chunkSet encodes ascending numbers as rows that fit a page: a prefix that
// all of them begin with, the first number of each row, then the distances.
func chunkSet(prefix []byte, seqs []uint64) [][]byte {
	return chunks(prefix, seqs, math.MaxInt, func(row []byte, last uint64, seqs []uint64) ([]byte, int) {
		return binary.AppendUvarint(row, seqs[0]-last), 1
	})
}

// chunkRuns is chunkSet with runs.
func chunkRuns(seqs []uint64) [][]byte {
	return chunks(nil, seqs, maxRun, func(row []byte, last uint64, seqs []uint64) ([]byte, int) {
		step := seqs[0] - last
		if n := runOf(last, seqs); n >= minRun {
			row = binary.AppendUvarint(append(row, 0), uint64(n))
			return binary.AppendUvarint(row, step), n
		}
		return binary.AppendUvarint(row, step), 1
	})
}

// runOf returns how many numbers follow last at one distance.
func runOf(last uint64, seqs []uint64) (n int) {
	step := seqs[0] - last
	for n < len(seqs) && seqs[n]-last == step {
		last = seqs[n]
		n++
	}
	return n
}

// chunks cuts a set into rows of up to so many numbers. next appends what comes
// after a number, and says how many numbers that was.
func chunks(prefix []byte, seqs []uint64, most int, next func(row []byte, last uint64, seqs []uint64) ([]byte, int)) (rows [][]byte) {
	const longest = 3 * binary.MaxVarintLen64 // what next may append
	for len(seqs) > 0 {
		row := append(make([]byte, 0, min(maxRow, 2*len(seqs)+32)), prefix...)
		row = binary.AppendUvarint(row, seqs[0])
		last, left := seqs[0], seqs[:min(len(seqs), most)]
		for left = left[1:]; len(left) > 0 && len(row) < maxRow-longest-crcSize; {
			if left[0] == last { // twice is once
				left = left[1:]
				continue
			}
			var n int
			row, n = next(row, last, left)
			last, left = left[n-1], left[n:]
		}
		rows = append(rows, row)
		seqs = seqs[min(len(seqs), most)-len(left):]
	}
	return rows
}

// decodeSet visits the numbers of one row of a set.
func decodeSet(row []byte, each func(uint64)) error {
	in := reader{row: row}
	last := in.uint()
	if in.err == nil {
		each(last)
	}
	for in.more() {
		n, step := in.run()
		for ; n > 0 && in.err == nil; n-- {
			if last+step < last {
				in.fail(errors.New("number overflows"))
				break
			}
			last += step
			each(last)
		}
	}
	return in.err
}

// run returns what follows a number: how many numbers, and their distance.
func (r *reader) run() (n, step uint64) {
	if step = r.uint(); step != 0 {
		return 1, step
	}
	if n, step = r.uint(), r.uint(); n == 0 || n > maxRun || step == 0 {
		r.fail(errRun)
		return 0, 0
	}
	return n, step
}

// setHas tells whether one row of a set has a number, and reads no further.
func setHas(row []byte, seq uint64) (bool, error) {
	in := reader{row: row}
	last := in.uint()
	for last < seq && in.more() {
		n, step := in.run()
		if in.err != nil {
			break
		}
		if far := (seq - last) / step; far < n {
			return (seq-last)%step == 0, nil
		}
		last += n * step
	}
	return last == seq && in.err == nil, in.err
}
