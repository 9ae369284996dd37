package main

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
)

// useTemporaryFile sets db to a file of its own folder, which remove deletes.
func (s *server) useTemporaryFile(name string) (remove func(), err error) {
	dir, err := os.MkdirTemp("", "recall-"+name+"-")
	if err != nil {
		return nil, err
	}
	s.db, s.temporary = filepath.Join(dir, name+".db"), true
	return func() {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Warn("the temporary file is still there", "error", err)
		}
	}, nil
}

// stateFile is where messages stay from one start to the next. Each port has a
// folder, so that two servers do not want one file. It is "" on port 0, which is
// another one each time, and where nothing can be kept.
func (d *dev) stateFile() string {
	_, port, err := net.SplitHostPort(d.listen)
	if err != nil || port == "0" {
		return "" // listening says what is wrong with it
	}
	dir, err := stateFolder()
	if err == nil {
		dir = filepath.Join(dir, "recall", "dev", port)
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		d.log.Warn("there is no folder to keep messages in; they are temporary", "error", err)
		return ""
	}
	return filepath.Join(dir, "queue.db")
}

// stateFolder is where programs of this user keep what is to stay and is no
// document.
func stateFolder() (string, error) {
	switch runtime.GOOS {
	case "windows":
		return os.UserCacheDir() // %LocalAppData%, which nothing empties
	case "darwin", "ios":
		return os.UserConfigDir() // ~/Library/Application Support
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state"), err
}
