package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	// The demo starts itself again as its child: with this set, the test binary
	// is the program.
	if os.Getenv("RECALL_TEST_MAIN") != "" || len(os.Args) > 1 && os.Args[1] == "demo-child" {
		os.Exit(run())
	}
	testscript.Main(m, map[string]func(){"recall": func() { os.Exit(run()) }})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
			"http":  httpCommand,
		},
	})
}

// await FILE REGEXP waits until the file of a command in the background has a
// match, and keeps its first group in $MATCH.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE REGEXP")
	}
	re := regexp.MustCompile(args[1])
	deadline := time.Now().Add(30 * time.Second)
	for time.Now().Before(deadline) {
		if data, err := os.ReadFile(ts.MkAbs(args[0])); err == nil {
			if m := re.FindSubmatch(data); m != nil {
				ts.Setenv("MATCH", string(m[len(m)-1]))
				return
			}
		}
		time.Sleep(10 * time.Millisecond) // another process is at work
	}
	ts.Fatalf("%s: no match for %s", args[0], args[1])
}

// http METHOD URL TOKEN [BODY] sends a request and prints status and answer.
func httpCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: http METHOD URL TOKEN [BODY]")
	}
	body := ""
	if len(args) > 3 {
		body = args[3]
	}
	status, text, err := send(args[0], args[1], args[2], body)
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

var curlLine = regexp.MustCompile(`(publish|count|bulk cancel) +(curl .*)`)

// TestPrintedCurlLines runs exactly what the demo prints.
func TestPrintedCurlLines(t *testing.T) {
	cmd := exec.Command(os.Args[0], "demo", "--delayed", "500", "--immediate", "20", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "RECALL_TEST_MAIN=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}()
	lines := map[string]string{}
	for scan := bufio.NewScanner(out); len(lines) < 3 && scan.Scan(); {
		if m := curlLine.FindStringSubmatch(scan.Text()); m != nil {
			lines[m[1]] = m[2]
		}
	}
	for _, c := range []struct{ name, want string }{
		{"publish", `200 {"messageId":"msg_[0-9A-Z]{26}","url":"http://127.0.0.1:\d+/hello"}`},
		{"count", `200 {"inFlight":0,"pending":[1-9]\d*}`},
		{"bulk cancel", `202 {"cancelled":[1-9]\d*}`},
		{"bulk cancel", `202 {"cancelled":0}`}, // they are gone
	} {
		got := runCurl(t, lines[c.name])
		if !regexp.MustCompile("^" + c.want + "$").MatchString(strings.TrimSpace(got)) {
			t.Errorf("%s: %s\ngot  %s\nwant %s", c.name, lines[c.name], got, c.want)
		}
	}
}

// runCurl sends the request of a printed line; with curl, if there is one.
func runCurl(t *testing.T, line string) string {
	t.Helper()
	if _, err := exec.LookPath("curl"); err == nil {
		out, err := exec.Command("sh", "-c", line+` -w '\n%{http_code}'`).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		text, status, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		if i := strings.LastIndex(string(out), "\n"); i >= 0 {
			text, status = strings.TrimSpace(string(out[:i])), string(out[i+1:])
		}
		return status + " " + text
	}
	m := regexp.MustCompile(`^curl -sS -X (\w+) -H 'Authorization: Bearer (\S+)' -d '(.*)' '(\S+)'$`).FindStringSubmatch(line)
	if m == nil {
		t.Fatalf("not a line that can be run: %q", line)
	}
	status, text, err := send(m[1], m[4], m[2], m[3])
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(status, " ", text)
}
