//go:build !linux

package peer

import "syscall"

// CountsMemory tells whether ResidentBytes knows.
const CountsMemory = false

// ResidentBytes knows nothing here.
func ResidentBytes(int) (int64, error) { return 0, nil }

func children(int) []int { return nil }

// account is not needed: services run as who runs the benchmark.
type account struct{}

func serviceAccount() (*account, error) { return nil, nil }

func (*account) own(string) error { return nil }

func attributes(*account, bool) *syscall.SysProcAttr { return nil }
