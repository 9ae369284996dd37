package main

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			env.Values[programsKey{}] = map[string]*program{}
			env.Values[arrivalsKey{}] = make(chan string, 100)
			home := filepath.Join(env.WorkDir, "home")
			env.Setenv("HOME", home)
			env.Setenv("XDG_STATE_HOME", filepath.Join(home, "state"))
			return os.Mkdir(home, 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"recall":  recallCommand,
			"start":   startCommand,
			"await":   awaitCommand,
			"end":     endCommand,
			"http":    httpCommand,
			"empty":   emptyCommand,
			"port":    portCommand,
			"capture": captureCommand,
			"until":   untilCommand,
			"damage":  damageCommand,
			"tear":    tearCommand,
			"target":  targetCommand,
			"arrive":  arriveCommand,
			"cert":    certCommand,
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
	for _, name := range []string{
		"PATH", "HOME", "XDG_STATE_HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "RECALL_TOKEN", "RECALL_READ_ONLY_TOKEN", "QSTASH_TOKEN",
		"QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_DEV_PORT", "QSTASH_DEV_LOG_PORT", "QSTASH_DEV_QUOTA", "HTTP_PROXY", "QSTASH_URL",
	} {
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
	if got := fmt.Sprint(runRecall(ts, ts.Stdout(), args[1:])); got != args[0] {
		ts.Fatalf("exit status %s instead of %s", got, args[0])
	}
}

// runRecall returns the exit status.
func runRecall(ts *testscript.TestScript, out io.Writer, args []string) int {
	self, err := os.Executable()
	ts.Check(err)
	cmd := exec.Command(self, args...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(environment(ts), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = out, ts.Stderr()
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		ts.Fatalf("%v", err)
	}
	return cmd.ProcessState.ExitCode()
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

// capture REGEXP keeps the last group of a match in the output of the last program
// in $MATCH.
func captureCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 1, "capture REGEXP")
	m := regexp.MustCompile(args[0]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no match of %q", args[0])
	}
	ts.Setenv("MATCH", m[len(m)-1])
}

// until OUTPUT ARGS... runs the program again and again, until it writes that.
func untilCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) > 1, "until OUTPUT ARGS...")
	for late := time.Now().Add(patienceOfTests); ; {
		var out strings.Builder
		runRecall(ts, &out, args[1:])
		if strings.TrimSpace(out.String()) == args[0] {
			return
		}
		if time.Now().After(late) {
			ts.Fatalf("it never wrote %q, but %q", args[0], &out)
		}
	}
}

// damage FILE overwrites what is in the middle of a file.
func damageCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 1, "damage FILE")
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	for i := len(text) / 8; i < len(text); i++ {
		text[i] ^= 0x55
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), text, 0o600))
}

// tear FILE changes the destination of a message, so that its checksum is wrong.
func tearCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 1, "tear FILE")
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	torn := bytes.ReplaceAll(text, []byte("example.com/a"), []byte("example.com/z"))
	if bytes.Equal(text, torn) {
		ts.Fatalf("%s has no such message", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), torn, 0o600))
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

// http METHOD URL TOKEN [BODY [HEADER...]] sends a request, with headers such as
// "Name: value". It prints status and answer, and the headers of the answer as
// standard error. Any certificate will do.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) >= 3, "http METHOD URL TOKEN [BODY [HEADER...]]")
	body := ""
	if len(args) > 3 {
		body = args[3]
	}
	a, err := request(args[0], args[1], args[2], body, args[min(4, len(args)):]...)
	ts.Check(err)
	_, err = fmt.Fprintf(ts.Stdout(), "%d %s\n", a.status, a.text)
	ts.Check(err)
	ts.Check(a.header.Write(ts.Stderr()))
}

func send(method, url, token, body string) (int, string, error) {
	a, err := request(method, url, token, body)
	return a.status, a.text, err
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	text   string
}

// testClient takes any certificate.
var testClient = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
}}

func request(method, url, token, body string, headers ...string) (answer, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	resp, err := testClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(text)}, err
}

// port sets $PORT to one that is free, and was taken by nobody a moment ago.
func portCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 0, "port")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, port, err := net.SplitHostPort(l.Addr().String())
	ts.Check(err)
	ts.Check(l.Close())
	ts.Setenv("PORT", port)
}

type arrivalsKey struct{}

// target sets $TARGET to the address of an endpoint. It refuses what comes to /refuse,
// and never answers what comes to /hang.
func targetCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 0, "target")
	arrivals := ts.Value(arrivalsKey{}).(chan string)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		claims, _ := base64.RawURLEncoding.DecodeString(strings.Split(r.Header.Get("Upstash-Signature")+"..", ".")[1])
		arrivals <- fmt.Sprintf("%s %s%s %s\nsigned %s\ncaller %s\n", r.Method, r.Host, r.RequestURI, body, claims, r.Header.Get("Upstash-Caller-Ip"))
		switch r.URL.Path {
		case "/refuse":
			http.Error(w, "no", http.StatusInternalServerError)
		case "/hang":
			<-r.Context().Done()
		}
	}))
	ts.Defer(s.Close)
	ts.Setenv("TARGET", s.URL)
}

// arrive waits until something arrives at the target, and prints it.
func arriveCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 0, "arrive")
	select {
	case text := <-ts.Value(arrivalsKey{}).(chan string):
		_, err := io.WriteString(ts.Stdout(), text)
		ts.Check(err)
	case <-time.After(patienceOfTests):
		ts.Fatalf("nothing arrived in %v", patienceOfTests)
	}
}

// cert makes a certificate for the loopback and its key.
func certCommand(ts *testscript.TestScript, neg bool, args []string) {
	check(ts, neg, len(args) == 2, "cert CERT KEY")
	ts.Check(writeCertificate(ts.MkAbs(args[0]), ts.MkAbs(args[1])))
}
