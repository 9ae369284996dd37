//go:build unix && !solaris && !illumos && !aix && !android

package store

import (
	"errors"
	"os"
	"syscall"
)

// lockShared takes bbolt's lock of a file as one of its readers: with a damaged
// file bbolt does not come that far. It is given back when the file is closed.
func lockShared(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}
