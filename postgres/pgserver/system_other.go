//go:build !linux

package pgserver

import (
	"errors"
	"syscall"
)

func attributes(*account) *syscall.SysProcAttr { return nil }

// killAll is not for this system: which processes belong to a server is told in many ways.
func killAll(int) error { return errors.ErrUnsupported }
