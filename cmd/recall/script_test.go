package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			env.Values[programsKey{}] = map[string]*program{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"recall": recallCommand,
			"start":  startCommand,
			"await":  awaitCommand,
			"end":    endCommand,
			"http":   httpCommand,
			"empty":  emptyCommand,
		},
	})
}

type programsKey struct{}

// programs are those that the script has started.
func programs(ts *testscript.TestScript) map[string]*program {
	return ts.Value(programsKey{}).(map[string]*program)
}

func condition(name string) (bool, error) {
	switch name {
	case "ipv6":
		l, err := net.Listen("tcp", "[::1]:0")
		if err == nil {
			err = l.Close()
		}
		return err == nil, nil
	case "signals":
		return runtime.GOOS != "windows", nil
	}
	return false, fmt.Errorf("unknown condition %q", name)
}

func check(ts *testscript.TestScript, neg bool, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

// environment is that of the script, without what could be set outside.
func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "RECALL_TOKEN", "QSTASH_TOKEN", "QSTASH_DEV_PORT"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// recall STATUS ARGS... runs the program to its end, which must have that exit
// status.
func recallCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) > 0, "recall STATUS ARGS...")
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self, args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(environment(ts), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	if got := fmt.Sprint(cmd.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit status %s instead of %s", got, args[0])
	}
}

// start NAME ARGS... runs the program beside the script.
func startCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) > 1, "start NAME ARGS...")
	p, err := startProgram(ts.MkAbs("."), environment(ts), args[1:]...)
	ts.Check(err)
	ts.Defer(p.kill)
	programs(ts)[args[0]] = p
}

// await NAME REGEXP waits until the program has written a match, and keeps its
// last group in $MATCH.
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2 && programs(ts)[args[0]] != nil, "await NAME REGEXP")
	m, err := programs(ts)[args[0]].await(regexp.MustCompile(args[1]))
	ts.Check(err)
	ts.Setenv("MATCH", m[len(m)-1])
}

// end NAME SIGNAL STATUS sends the signal, waits for the end with that exit
// status, and prints what the program wrote.
func endCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 3 && programs(ts)[args[0]] != nil, "end NAME SIGNAL STATUS")
	sig := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[1]]
	p := programs(ts)[args[0]]
	status, err := p.stop(sig)
	ts.Check(err)
	if fmt.Sprint(status) != args[2] {
		ts.Fatalf("exit status %d instead of %s:\n%s", status, args[2], p.output())
	}
	_, err = io.WriteString(ts.Stdout(), p.output())
	ts.Check(err)
}

// empty DIR fails if something is in the folder.
func emptyCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 1, "empty DIR")
	list, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(list) > 0 {
		ts.Fatalf("%s has %v", args[0], list)
	}
}

// http METHOD URL TOKEN [BODY] sends a request and prints status and answer.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 3 || len(args) == 4, "http METHOD URL TOKEN [BODY]")
	status, text, err := send(args[0], args[1], args[2], strings.Join(args[3:], ""))
	ts.Check(err)
	_, err = fmt.Fprintf(ts.Stdout(), "%d %s\n", status, text)
	ts.Check(err)
}

func send(method, url, token, body string) (int, string, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}
