//go:build unix && !solaris && !illumos && !aix && !android

package main

import (
	"errors"
	"os"
	"syscall"

	"github.com/recallmq/recall"
)

// lockShared takes the lock of a file as one of its readers, until it is closed: no
// process can open it to write. A file system without locks has none that could.
func lockShared(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
		return recall.ErrInUse
	}
	return nil
}
