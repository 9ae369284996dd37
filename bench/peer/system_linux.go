package peer

import (
	"bytes"
	"fmt"
	"os"
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

// attributes: a service is in a group of its own, so that an interrupt of the
// terminal is not for it, and dies with the process that started it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
}
