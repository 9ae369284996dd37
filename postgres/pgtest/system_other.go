//go:build !linux

package pgtest

import "os/exec"

// DieWithParent has a command that is not started yet end with this process, where the
// system can do that.
func DieWithParent(*exec.Cmd) {}
