package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// replace puts a file in its place in one step, when it is written, synced, and
// approved. Until then what was there stays. A link is followed, and what is replaced
// hands on who may open it.
func (c *console) replace(file string, write func(*os.File) error, approve func(part string) error, move func(part, file string) error) (err error) {
	if file, err = followed(file); err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".part-*")
	if err != nil {
		return err
	}
	part := out.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(part)))
		}
	}()
	// Who may open it is settled before the sync, which makes that durable too.
	if err := errors.Join(write(out), sameAccess(part, file), out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := approve(part); err != nil {
		return err
	}
	if err := move(part, file); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

// followed is the file that a name is, or would be, a link to: a rename would put the
// file in the place of the link.
func followed(file string) (string, error) {
	for {
		real, err := filepath.EvalSymlinks(file)
		if !errors.Is(err, fs.ErrNotExist) {
			return real, err
		}
		to, err := os.Readlink(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return file, nil // it is no link, and nothing is there
		case err != nil:
			return "", err
		}
		if !filepath.IsAbs(to) {
			dir, err := filepath.EvalSymlinks(filepath.Dir(file))
			if err != nil {
				return "", err
			}
			to = filepath.Join(dir, to)
		}
		file = to
	}
}

// sameAccess gives a file the permissions and the owner of the one that it replaces, if
// there is one. Whoever cannot do so would lock others out.
func sameAccess(part, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return ignoreMissing(err)
	}
	if err := os.Chmod(part, info.Mode().Perm()); err != nil {
		return err
	}
	return sameOwner(part, info)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
