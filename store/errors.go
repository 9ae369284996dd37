package store

import (
	"errors"
	"fmt"
)

// Errors that callers may test for with errors.Is.
var (
	// ErrInUse: another process, or another Store, holds the file.
	ErrInUse = errors.New("recall: the file is in use by another process")
	// ErrCorrupt: the file is damaged; a *CorruptError says where.
	ErrCorrupt = errors.New("recall: the file is damaged")
	// ErrForeign: the file is not Recall's.
	ErrForeign = errors.New("recall: not a Recall file")
	// ErrVersion: a newer Recall wrote the file.
	ErrVersion = errors.New("recall: the file has a newer format")
	// ErrReadOnly: the file may not be written.
	ErrReadOnly = errors.New("recall: the file is read-only")
	// ErrFull: there is no room for the write. Nothing was changed.
	ErrFull = errors.New("recall: the file is full")
	// ErrFailed: a commit has failed and its outcome is unknown until the file
	// is opened again.
	ErrFailed = errors.New("recall: a commit has failed; reopen the file to learn its outcome")
	// ErrNoOperation: the file has no operation of that id.
	ErrNoOperation = errors.New("recall: no such operation")
	// ErrFolded: the operation can no longer be undone.
	ErrFolded = errors.New("recall: the operation can no longer be undone")
	// ErrRestored: the operation has been undone, and takes no more messages.
	ErrRestored = errors.New("recall: the operation has been undone")
	// ErrClosed: the Store is closed.
	ErrClosed = errors.New("recall: closed")
)

// CorruptError names the row or the page that is damaged. It matches
// ErrCorrupt, and unwraps to the cause.
type CorruptError struct {
	Bucket string // "" when it is the file as a whole
	Key    string // in hexadecimal, or "" when it is the bucket
	Err    error
}

// Error implements error.
func (e *CorruptError) Error() string {
	where := ""
	if e.Bucket != "" {
		where = fmt.Sprintf(": bucket %q", e.Bucket)
	}
	if e.Key != "" {
		where += fmt.Sprintf(", key %s", e.Key)
	}
	return fmt.Sprintf("%v%s: %v", ErrCorrupt, where, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// Is reports whether target is ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

func corrupt(bucket string, key []byte, err error) error {
	if err == nil {
		return nil
	}
	return &CorruptError{Bucket: bucket, Key: fmt.Sprintf("%x", key), Err: err}
}

// CorruptRecord returns err as damage of the record row of a message; nil if
// err is nil.
func CorruptRecord(tab Table, seq uint64, err error) error {
	return corrupt(string(tableNames[tab].record), seqKey(seq), err)
}

// CorruptBody is CorruptRecord for the body row.
func CorruptBody(tab Table, seq uint64, err error) error {
	return corrupt(string(tableNames[tab].body), seqKey(seq), err)
}
