package store

import "io"

// window is a piece of a file. Pages of one bucket lie near each other mostly, and a
// call for each took a third of the check.
type window struct {
	data [64 << 10]byte
	from int64 // where in the file it lies
	n    int   // how much of it is read
}

// read returns some bytes of the file, which may not cross a border of windows.
func (w *window) read(f io.ReaderAt, at int64, size int) ([]byte, error) {
	from := at &^ int64(len(w.data)-1)
	if w.n == 0 || from != w.from {
		w.from = from
		w.n, _ = f.ReadAt(w.data[:], from) // what cannot be read of it may be of no use anyway
	}
	i := int(at - from)
	if i+size <= w.n {
		return w.data[i : i+size], nil
	}
	w.n = 0
	_, err := f.ReadAt(w.data[:size], at)
	return w.data[:size], err
}
