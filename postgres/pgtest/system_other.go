//go:build !linux

package pgtest

import (
	"errors"
	"os/exec"
	"syscall"
)

func attributes(*account) *syscall.SysProcAttr { return nil }

// DieWithParent has a command that is not started yet end with this process, where the
// system can do that.
func DieWithParent(*exec.Cmd) {}

// killAll is not for this system: which processes belong to a server is told in many ways.
func killAll(int) error { return errors.ErrUnsupported }
