//go:build unix && !solaris && !illumos && !aix && !android

package store

import (
	"os"
	"syscall"
)

// unlock gives bbolt's lock of a file back: as long as the file is mapped, to
// close it is not enough.
func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) }
