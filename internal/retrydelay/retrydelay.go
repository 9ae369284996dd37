// Package retrydelay reads the expressions that say how long to wait before the
// next attempt, as QStash's Upstash-Retry-Delay has them: milliseconds, from
// numbers, the variable retried, + - * / and parentheses, and the functions
// pow(x, y), exp, sqrt, abs, floor, ceil, round, min and max.
//
// Numbers are float64, and dividing by zero is no error: what is not a number,
// or negative, is no delay, and what exceeds a day is a day.
package retrydelay

import (
	"fmt"
	"math"
	"time"
)

const (
	// MaxLength is the longest expression, in bytes.
	MaxLength = 256
	// MaxDepth bounds how deep parentheses, calls and signs are nested.
	MaxDepth = 32
	// Max is the longest delay.
	Max = 24 * time.Hour
)

// SyntaxError tells what is wrong with an expression, and where.
type SyntaxError struct {
	Offset int // in bytes
	Reason string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("at offset %d: %s", e.Offset, e.Reason) }

// Expression is what Parse has read. It is never changed, and safe for
// concurrent use.
type Expression struct{ root node }

// node is a part of an expression: its value after so many retries.
type node func(retried float64) float64

// Parse reads an expression. Its error is a *SyntaxError.
func Parse(text string) (Expression, error) {
	if len(text) > MaxLength {
		return Expression{}, &SyntaxError{MaxLength, fmt.Sprintf("it has %d bytes; the limit is %d", len(text), MaxLength)}
	}
	p := &parser{text: text}
	p.next()
	root := p.sum()
	if p.err == nil && p.tok.kind != end {
		p.fail("an operator is missing")
	}
	if p.err != nil {
		return Expression{}, p.err
	}
	return Expression{root}, nil
}

// Delay is the wait after an attempt that failed and had retried so many before
// it: 0 after the first. It is between 0 and Max, in whole milliseconds.
func (e Expression) Delay(retried int) time.Duration {
	ms := e.root(float64(retried))
	switch most := float64(Max.Milliseconds()); {
	case !(ms > 0): // also what is not a number
		return 0
	case ms >= most:
		return Max
	}
	return time.Duration(math.Round(ms)) * time.Millisecond
}
