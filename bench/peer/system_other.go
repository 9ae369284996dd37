//go:build !linux

package peer

import "syscall"

// CountsMemory tells whether ResidentBytes knows.
const CountsMemory = false

// ResidentBytes knows nothing here.
func ResidentBytes(int) (int64, error) { return 0, nil }

func children(int) []int { return nil }

func attributes() *syscall.SysProcAttr { return nil }
