package pgtest

import (
	"os/exec"
	"syscall"
)

// DieWithParent has a command that is not started yet end with this process.
func DieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
