package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// patienceOfTests is how long a program may take to say something.
const patienceOfTests = time.Minute

// program is a recall that runs beside a test.
type program struct {
	cmd  *exec.Cmd
	more chan struct{} // has room for one hint that text has grown
	done chan struct{} // closed when the output has ended

	mu   sync.Mutex
	text []byte // standard output and standard error
}

// startProgram runs recall with the arguments in the folder.
func startProgram(dir string, env []string, args ...string) (*program, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &program{cmd: exec.Command(self, args...), more: make(chan struct{}, 1), done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = dir, append(env, asProgram+"=1")
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = p.cmd.Stdout
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.read(out)
	return p, nil
}

func (p *program) read(out io.Reader) {
	defer close(p.done)
	for r := bufio.NewReader(out); ; {
		line, err := r.ReadBytes('\n')
		p.mu.Lock()
		p.text = append(p.text, line...)
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return string(p.text)
}

// await waits until the output has a match, and returns its groups.
func (p *program) await(re *regexp.Regexp) ([]string, error) {
	late := time.After(patienceOfTests)
	for ended := false; ; {
		if m := re.FindStringSubmatch(p.output()); m != nil {
			return m, nil
		}
		if ended {
			return nil, fmt.Errorf("the program ended without %q:\n%s", re, p.output())
		}
		select {
		case <-p.more:
		case <-p.done:
			ended = true // look once more
		case <-late:
			return nil, fmt.Errorf("no %q in %v:\n%s", re, patienceOfTests, p.output())
		}
	}
}

// stop sends the signal, waits for the end, and returns the exit status.
func (p *program) stop(sig os.Signal) (int, error) {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return 0, err
	}
	return p.end()
}

// end waits for the end, and returns the exit status.
func (p *program) end() (int, error) {
	select {
	case <-p.done:
	case <-time.After(patienceOfTests):
		p.kill()
		return 0, fmt.Errorf("no end after %v:\n%s", patienceOfTests, p.output())
	}
	_ = p.cmd.Wait() // the status says what there is to say
	return p.cmd.ProcessState.ExitCode(), nil
}

// kill is for the end of a test, where the program may be gone already.
func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	_ = p.cmd.Wait()
}
