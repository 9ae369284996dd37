package peer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// CountsMemory tells whether ResidentBytes knows.
const CountsMemory = true

// ResidentBytes is the memory of a process; what several share is shared out
// among them.
func ResidentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte("Pss:")); ok {
			kib, err := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(" kB"))), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("process %d tells no Pss", pid)
}

// children returns the processes that one has started.
func children(pid int) (all []int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for word := range bytes.FieldsSeq(text) {
		if child, err := strconv.Atoi(string(word)); err == nil {
			all = append(all, child)
		}
	}
	return all
}

// account is a user to run a service as.
type account struct{ uid, gid uint32 }

// serviceAccount is nil for a user who may run every service. PostgreSQL refuses
// to run as root, so then it is its own user or somebody without rights.
func serviceAccount() (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		return &account{uint32(uid), uint32(gid)}, errors.Join(errU, errG)
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func (a *account) own(dir string) error {
	if a == nil {
		return nil
	}
	return os.Chown(dir, int(a.uid), int(a.gid))
}

// attributes: a service is in a group of its own, so that an interrupt of the
// terminal is not for it, and dies with the process that started it.
func attributes(who *account, dies bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	if dies {
		attr.Pdeathsig = syscall.SIGQUIT
	}
	if who != nil {
		attr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid}
	}
	return attr
}
