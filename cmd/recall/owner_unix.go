//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// sameOwner gives a file the owner and group that another has.
func sameOwner(file string, like fs.FileInfo) error {
	want, ok := like.Sys().(*syscall.Stat_t)
	info, err := os.Stat(file)
	if err != nil || !ok {
		return err
	}
	have, ok := info.Sys().(*syscall.Stat_t)
	if ok && have.Uid == want.Uid && have.Gid == want.Gid {
		return nil
	}
	return os.Chown(file, int(want.Uid), int(want.Gid))
}
