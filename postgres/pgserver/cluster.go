package pgserver

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
)

// initialise puts an empty cluster into the folder of the server.
func (s *Server) initialise(ctx context.Context) error {
	if !s.config.Copied {
		return s.initdb(ctx, s.home)
	}
	empty, err := copied.get(ctx, s)
	if err != nil {
		return err
	}
	return run(ctx, s.who, s.home, "cp", "-pR", empty, s.data())
}

// initdb makes an empty cluster below a folder.
func (s *Server) initdb(ctx context.Context, dir string) error {
	return run(ctx, s.who, dir, s.tool("initdb"), "-D", filepath.Join(dir, "data"), "-U", superuser,
		"--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
}

// copied is the cluster that others are copied from.
var copied template

type template struct {
	mu   sync.Mutex
	dir  string // nothing, until somebody has asked
	held *os.File
}

func (t *template) get(ctx context.Context, s *Server) (data string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dir == "" {
		if t.dir, t.held, err = newFolder(s.who); err != nil {
			return "", err
		}
		// With a log it is found if it is left behind.
		err := os.WriteFile(filepath.Join(t.dir, logName), nil, 0o600)
		if err == nil {
			err = s.initdb(ctx, t.dir)
		}
		if err != nil {
			return "", errors.Join(err, t.removeHeld())
		}
	}
	return filepath.Join(t.dir, "data"), nil
}

func (t *template) remove() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.removeHeld()
}

func (t *template) removeHeld() error {
	if t.dir == "" {
		return nil
	}
	err := os.RemoveAll(t.dir)
	_ = t.held.Close()
	t.dir, t.held = "", nil
	return err
}
