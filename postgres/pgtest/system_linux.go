package pgtest

import (
	"os/exec"
	"syscall"
)

// attributes: the server is in a group of its own, so that an interrupt of the
// terminal is not for it, and dies with the process that started it.
func attributes(who *account) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid}
	}
	return attr
}

// DieWithParent has a command that is not started yet end with this process.
func DieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
