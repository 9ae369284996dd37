//go:build !windows

package store

import "os"

// renameOpen tells whether a file that is open can be renamed and removed.
const renameOpen = true

// syncDir makes the name of a new file durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
