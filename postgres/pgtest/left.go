package pgtest

import (
	"os"
	"path/filepath"
)

// prefix begins the names of the folders of servers.
const prefix = "recall-pgtest-"

const logName = "server.log"

// removeLeft removes the folders of servers that tests have left behind which were
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
