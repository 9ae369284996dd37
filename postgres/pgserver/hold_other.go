//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd

package pgserver

import (
	"errors"
	"os"
)

// hold opens a folder. This system cannot tell whether another process holds it.
func hold(dir string, wait bool) (*os.File, error) {
	if !wait {
		return nil, errors.ErrUnsupported
	}
	return os.Open(dir)
}
