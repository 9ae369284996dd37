//go:build !unix || solaris || illumos || aix || android

package store

import "os"

// unlock does nothing: the lock goes when the file is closed.
func unlock(*os.File) {}
