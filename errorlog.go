package recall

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// LoggedError is an error that a broker has logged; the zero value is none.
type LoggedError struct {
	At   time.Time
	Text string // the message of the line, and the error that it names
}

// errorCount counts what a broker and its engine log as errors, and keeps the
// newest.
type errorCount struct {
	mu    sync.Mutex
	count int64
	last  LoggedError
}

func (c *errorCount) note(e LoggedError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	c.last = e
}

func (c *errorCount) read() (int64, LoggedError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count, c.last
}

// countErrors returns a logger that counts errors on their way to l, whether l
// writes them or not. One that counts already is returned as it is.
func countErrors(l *slog.Logger) (*slog.Logger, *errorCount) {
	if h, ok := l.Handler().(*countingHandler); ok {
		return l, h.errors
	}
	errors := new(errorCount)
	return slog.New(&countingHandler{l.Handler(), errors, l}), errors
}

// uncountedLogger is the logger that countErrors was given.
func uncountedLogger(l *slog.Logger) *slog.Logger {
	if h, ok := l.Handler().(*countingHandler); ok {
		return h.given
	}
	return l
}

// countingHandler counts the records of errors that it hands on.
type countingHandler struct {
	slog.Handler
	errors *errorCount
	given  *slog.Logger
}

// WithAttrs implements [slog.Handler].
func (h *countingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &countingHandler{h.Handler.WithAttrs(attrs), h.errors, h.given}
}

// WithGroup implements [slog.Handler].
func (h *countingHandler) WithGroup(name string) slog.Handler {
	return &countingHandler{h.Handler.WithGroup(name), h.errors, h.given}
}

// Enabled implements [slog.Handler].
func (h *countingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelError || h.Handler.Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h *countingHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		h.errors.note(LoggedError{At: r.Time, Text: textOf(r)})
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

// textOf is the message of a record, and its error or reason.
func textOf(r slog.Record) string {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "error" || a.Key == "reason" {
			text += ": " + a.Value.String()
			return false
		}
		return true
	})
	return boundReason(text)
}
