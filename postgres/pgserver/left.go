package pgserver

import (
	"errors"
	"os"
	"path/filepath"
)

// prefix begins the names of the folders of servers.
const prefix = "recall-pgserver-"

const logName = "server.log"

// newFolder makes one, which is held by this process until the file is closed.
func newFolder(who *account) (dir string, held *os.File, err error) {
	if dir, err = os.MkdirTemp("", prefix); err != nil {
		return "", nil, err
	}
	held, err = hold(dir, true)
	if err == nil {
		if err = who.own(dir); err == nil {
			return dir, held, nil
		}
		_ = held.Close()
	}
	return "", nil, errors.Join(err, os.Remove(dir))
}

// removeLeft removes the folders of servers that processes have left behind which were
// killed. What belongs to another user stays.
func removeLeft() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		held, err := hold(dir, false)
		if err != nil {
			continue
		}
		// Without a log it is one that was made just now.
		if _, err := os.Stat(filepath.Join(dir, logName)); err == nil {
			_ = os.RemoveAll(dir)
		}
		_ = held.Close()
	}
}
