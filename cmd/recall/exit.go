package main

import (
	"errors"
	"fmt"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

// The exit statuses. docs/cli.md lists them.
const (
	exitOK       = 0
	exitError    = 1 // it failed, or was interrupted
	exitUsage    = 2
	exitNotFound = 3 // what was named is not there
	exitBlocked  = 4 // a message in flight ended it
	exitCount    = 5 // another number of matches than expected
	exitRefused  = 6 // it was not confirmed
	exitInUse    = 7 // another process holds the file
	exitDamaged  = 8 // the file is damaged
	exitTooLate  = 9 // it can no longer be undone
	exitToken    = 10
)

// usageError is a fault of the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Errors of commands.
var (
	errNotConfirmed = errors.New("not confirmed: nothing was changed")
	errNoTerminal   = fmt.Errorf("%w; there is no terminal to ask at: give --yes, with --expect N to be safe", errNotConfirmed)
	errFindings     = errors.New("the file is damaged")
	errInterrupted  = errors.New("interrupted")
)

// outcome is the error of a command whose exit status says what it is. Those of
// servers have three only.
type outcome struct{ error }

func (o outcome) Unwrap() error { return o.error }

// told makes an error an outcome.
func told(err error) error {
	if err == nil {
		return nil
	}
	return outcome{err}
}

// statusOf gives outcomes their exit status, the first match.
var statusOf = []struct {
	err    error
	status int
}{
	{errNotConfirmed, exitRefused},
	{recall.ErrNotCancellable, exitBlocked},
	{recall.ErrUnexpectedCount, exitCount},
	{recall.ErrNotFound, exitNotFound},
	{recall.ErrNoTopic, exitNotFound},
	{recall.ErrNoSchedule, exitNotFound},
	{recall.ErrInUse, exitInUse},
	{errFindings, exitDamaged},
	{recall.ErrCorrupt, exitDamaged},
	{recall.ErrUndoExpired, exitTooLate},
	{admin.ErrUnauthorized, exitToken},
	{admin.ErrForbidden, exitToken},
}

func exitStatus(err error) int {
	var usage usageError
	var own outcome
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return exitUsage
	case !errors.As(err, &own):
		return exitError
	}
	for _, s := range statusOf {
		if errors.Is(err, s.err) {
			return s.status
		}
	}
	return exitError
}

// refused makes what the library refuses of an argument a fault of the command line.
func refused(err error) error {
	if errors.Is(err, recall.ErrInvalid) {
		return usageError{err}
	}
	return err
}
