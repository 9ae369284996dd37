//go:build !linux

package polite

func yieldThread() {}
