package pgserver

import (
	"errors"
	"slices"
	"sync"
)

// up are the servers that were started and not stopped.
var up servers

type servers struct {
	mu  sync.Mutex
	all []*Server
}

func (u *servers) add(s *Server) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !slices.Contains(u.all, s) {
		u.all = append(u.all, s)
	}
}

func (u *servers) remove(s *Server) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all = slices.DeleteFunc(u.all, func(other *Server) bool { return other == s })
}

// newestFirst has a standby before its primary, which would wait for it.
func (u *servers) newestFirst() []*Server {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := slices.Clone(u.all)
	slices.Reverse(all)
	return all
}

// StopAll stops the servers of this process that still run, and removes what is kept for the
// next one: for a process that ends, or is told to.
func StopAll() error {
	var errs []error
	for _, s := range up.newestFirst() {
		errs = append(errs, s.Stop())
	}
	return errors.Join(append(errs, copied.remove())...)
}
