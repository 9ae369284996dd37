//go:build !linux

package store

// memorySize returns the memory of the machine in bytes, 0 if unknown.
func memorySize() int64 { return 0 }
