package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/recallmq/recall/postgres/pgserver"
)

// Available tells why a peer cannot be measured here.
func Available(p *Peer) error {
	if p.Embedded() {
		return nil
	}
	_, err := find(p.Program)
	return err
}

// find returns where a program is.
func find(program string) (string, error) {
	if program == postgresProgram {
		return pgserver.Find()
	}
	return exec.LookPath(program)
}

// service is a program that runs for one queue, in a folder of that.
type service struct {
	cmd    *exec.Cmd
	end    os.Signal // asks it to stop
	exited chan struct{}
	log    string
}

// running are the services that are up: whoever ends the process stops them.
var running struct {
	sync.Mutex
	all []*service
}

// servicePatience is how long one may take to start or to stop.
const servicePatience = time.Minute

// startService runs a program until stop. It dies with this process where the
// system can do that.
func startService(dir, name string, end os.Signal, program string, args ...string) (*service, error) {
	s := &service{end: end, exited: make(chan struct{}), log: filepath.Join(dir, name+".log")}
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(program, args...)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = dir, log, log
	s.cmd.SysProcAttr = attributes()
	running.Lock()
	defer running.Unlock()
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	running.all = append(running.all, s)
	go func() {
		_ = s.cmd.Wait() // how it ended is in its log
		close(s.exited)
	}()
	return s, nil
}

// await waits until ready answers without an error.
func (s *service) await(ctx context.Context, ready func(context.Context) error) error {
	for deadline := time.Now().Add(servicePatience); ; {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("%s ended: %w: %s", s.cmd.Path, err, s.said())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w: %s", s.cmd.Path, err, s.said())
		}
	}
}

// said is the end of what the service wrote.
func (s *service) said() string {
	text, _ := os.ReadFile(s.log)
	return string(text[max(0, len(text)-2000):])
}

// stop asks, and ends it when that does not help.
func (s *service) stop() error {
	running.Lock()
	running.all = slices.DeleteFunc(running.all, func(other *service) bool { return other == s })
	running.Unlock()
	if err := s.cmd.Process.Signal(s.end); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(servicePatience):
	}
	err := s.cmd.Process.Kill()
	<-s.exited
	return errors.Join(fmt.Errorf("%s did not stop: %s", s.cmd.Path, s.said()), err)
}

// Shutdown stops all services that still run and removes what is kept for the
// next one: for a process that ends, or is told to.
func Shutdown() error {
	running.Lock()
	all := slices.Clone(running.all)
	running.Unlock()
	var errs []error
	for _, s := range all {
		errs = append(errs, s.stop())
	}
	return errors.Join(append(errs, pgserver.StopAll())...)
}

// memoryOf adds up what processes hold for themselves.
func memoryOf(pids []int) (n int64, err error) {
	for _, pid := range pids {
		one, err := ResidentBytes(pid)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
				continue // it ended meanwhile
			}
			return 0, err
		}
		n += one
	}
	return n, nil
}
