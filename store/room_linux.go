package store

import (
	"errors"
	"os"
	"syscall"
)

// extendFile allocates real blocks, so that a full disk is noticed here. File
// systems that cannot are given zeros.
func extendFile(f *os.File, from, to int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, from, to-from)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return writeZeros(f, from, to)
	}
	return err
}
