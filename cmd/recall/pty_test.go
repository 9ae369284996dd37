//go:build linux || darwin

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// atTerminal is a recall whose user sits at a terminal.
type atTerminal struct {
	t   *testing.T
	cmd *exec.Cmd
	tty *os.File

	mu   sync.Mutex
	text bytes.Buffer  // guarded by mu
	more chan struct{} // has room for one hint that text has grown; closed at the end
}

func startAtTerminal(t *testing.T, args ...string) *atTerminal {
	t.Helper()
	p := &atTerminal{t: t, cmd: exec.Command(os.Args[0], args...), more: make(chan struct{}, 1)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "TERM=xterm-256color")
	var err error
	if p.tty, err = pty.StartWithSize(p.cmd, &pty.Winsize{Rows: 24, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.tty.Close(); _ = p.cmd.Process.Kill() })
	go p.read()
	return p
}

func (p *atTerminal) read() {
	defer close(p.more)
	for part := make([]byte, 4096); ; {
		n, err := p.tty.Read(part)
		p.mu.Lock()
		p.text.Write(part[:n])
		p.mu.Unlock()
		if err != nil { // also that the program has ended
			return
		}
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

func (p *atTerminal) screen() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// await waits for a text on the screen.
func (p *atTerminal) await(text string) {
	p.t.Helper()
	late := time.After(patienceOfTests)
	for open := true; !strings.Contains(p.screen(), text); {
		if !open {
			p.t.Fatalf("it ended without %q:\n%s", text, p.screen())
		}
		select {
		case _, open = <-p.more:
		case <-late:
			p.t.Fatalf("no %q on the screen:\n%s", text, p.screen())
		}
	}
}

// key types a text, as a user does.
func (p *atTerminal) key(text string) {
	p.t.Helper()
	if _, err := p.tty.WriteString(text); err != nil {
		p.t.Fatal(err)
	}
}

// end waits for the end, with that exit status.
func (p *atTerminal) end(status int) {
	p.t.Helper()
	late := time.After(patienceOfTests)
	for open := true; open; {
		select {
		case _, open = <-p.more:
		case <-late:
			p.t.Fatalf("no end:\n%s", p.screen())
		}
	}
	_ = p.cmd.Wait() // the status says it
	if got := p.cmd.ProcessState.ExitCode(); got != status {
		p.t.Errorf("exit status %d instead of %d:\n%s", got, status, p.screen())
	}
}

// TestAsks cancels at a terminal: with a no, and with a yes.
func TestAsks(t *testing.T) {
	file := fileWith(t, 3)
	p := startAtTerminal(t, "cancel", "--db", file, "--label", "x")
	p.await("> label")
	p.await("Cancel 3 messages? [y/N] ")
	p.key("n\r")
	p.end(exitRefused)
	if !strings.Contains(p.screen(), "nothing was changed") {
		t.Errorf("got\n%s", p.screen())
	}
	p = startAtTerminal(t, "cancel", "--db", file, "--label", "x")
	p.await("Cancel 3 messages? [y/N] ")
	p.key("y\r")
	p.await("3 messages cancelled")
	p.end(exitOK)
	p = startAtTerminal(t, "count", "--db", file)
	p.await("0 pending")
	p.end(exitOK)
}

// TestTableAtTerminal: no line is wider than it.
func TestTableAtTerminal(t *testing.T) {
	p := startAtTerminal(t, "queues", "--db", fileWith(t, 2))
	p.end(exitOK)
	if !strings.Contains(p.screen(), "mail") {
		t.Errorf("got\n%s", p.screen())
	}
	for line := range strings.Lines(p.screen()) {
		if n := len([]rune(strings.TrimRight(line, "\r\n"))); n > 60 {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// TestTopAtTerminal watches a file, and leaves.
func TestTopAtTerminal(t *testing.T) {
	p := startAtTerminal(t, "top", "--db", fileWith(t, 2), "--every", "100ms")
	p.await("2 pending")
	p.await("mail")
	p.await("0/s") // a second frame
	p.key("q")
	p.end(exitOK)
}
