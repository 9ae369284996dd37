//go:build linux || darwin || freebsd || netbsd || openbsd

package pgserver

import (
	"errors"
	"os"
	"syscall"
)

// hold opens a folder that no other process holds until the file is closed, or this
// process ends. It waits for who does, or fails.
func hold(dir string, wait bool) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	how := syscall.LOCK_EX
	if !wait {
		how |= syscall.LOCK_NB
	}
	if err := syscall.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
