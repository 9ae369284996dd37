// Package prefault allocates memory that is about to be written as a whole, and
// has the operating system provide it in one call. Otherwise each page of 4 kB
// is a fault of its own when it is first touched: some hundred nanoseconds on a
// bare machine, and up to 20 µs on some virtual ones, which for a set of 100,000
// numbers is more than walking an index to find them.
//
// It is only ever about time: where the system has no such call, or refuses it,
// the memory is provided page by page.
package prefault

import "unsafe"

// smallest is the size from which a call pays.
const smallest = 32 << 10

// New is new(T).
func New[T any]() *T {
	p := new(T)
	populate(unsafe.Pointer(p), unsafe.Sizeof(*p))
	return p
}

// Slice is make([]T, 0, n).
func Slice[T any](n int) []T {
	s := make([]T, 0, n)
	if n > 0 {
		var zero T
		populate(unsafe.Pointer(unsafe.SliceData(s)), uintptr(n)*unsafe.Sizeof(zero))
	}
	return s
}
