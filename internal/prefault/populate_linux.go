package prefault

import (
	"os"
	"syscall"
	"unsafe"
)

// madvPopulateWrite is MADV_POPULATE_WRITE, of Linux 5.14 and later.
const madvPopulateWrite = 23

// populate asks for the whole pages within some memory. Errors do not matter.
func populate(at unsafe.Pointer, size uintptr) {
	if size < smallest {
		return
	}
	page := uintptr(os.Getpagesize())
	skip := (page - uintptr(at)%page) % page
	if size < skip+page {
		return
	}
	whole := (size - skip) &^ (page - 1)
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(unsafe.Add(at, skip)), whole, madvPopulateWrite)
}
