package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"

	"github.com/recallmq/recall/postgres/pgtest"
)

// asProgram makes the test binary the program, also for the child of a demo.
const asProgram = "RECALL_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run())
	}
	os.Exit(pgtest.Main(m))
}

func TestExitStatus(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("no"), 1},
		{usagef("no"), 2},
		{fmt.Errorf("wrapped: %w", usagef("no")), 2},
		{errors.Join(errors.New("no"), usagef("no")), 2},
	} {
		if got := exitStatus(test.err); got != test.want {
			t.Errorf("%v: got %d, want %d", test.err, got, test.want)
		}
	}
}

// TestServerSteersNoTerminal: what a server writes as an error is shown without its
// teeth.
func TestServerSteersNoTerminal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"code":"internal","error":"\u001b]0;owned\u0007 a\u0000b\u202e\r end"}`)
	}))
	defer server.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "count", "--url", server.URL, "--token", "x")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil || string(out) != "recall: \uFFFD]0;owned\uFFFD a\uFFFDb\uFFFD\uFFFD end\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestSingleDash(t *testing.T) {
	for _, test := range []struct{ args, want []string }{
		{nil, nil},
		{[]string{"dev", "-port", "1"}, []string{"dev", "--port", "1"}},
		{[]string{"dev", "-port=1", "--db", "x"}, []string{"dev", "--port=1", "--db", "x"}},
		{[]string{"dev", "--port", "1"}, []string{"dev", "--port", "1"}},
		{[]string{"dev", "-log-port", "2", "-quota=pro"}, []string{"dev", "--log-port", "2", "--quota=pro"}},
		{[]string{"dev", "-portal"}, []string{"dev", "-portal"}},
		{[]string{"dev", "--", "-port"}, []string{"dev", "--", "-port"}},
		{[]string{"serve", "-port", "1"}, []string{"serve", "-port", "1"}},
	} {
		if got := singleDash(test.args); !slices.Equal(got, test.want) {
			t.Errorf("%q: got %q, want %q", test.args, got, test.want)
		}
	}
}

func TestDevAddress(t *testing.T) {
	for _, test := range []struct{ listen, port, env, want string }{
		{"", "", "", "127.0.0.1:8080"},
		{"[::1]:1", "", "", "[::1]:1"},
		{"", "2", "", "127.0.0.1:2"},
		{"", "", "3", "127.0.0.1:3"},
		{"", "0", "3", "127.0.0.1:0"},
		{"0.0.0.0:1", "", "3", "0.0.0.0:1"},
		{"0.0.0.0:1", "2", "3", "0.0.0.0:2"},
		{"", "65536", "", ""},
		{"", "-1", "", ""},
		{"", "", "http", ""},
		{"nowhere", "2", "", ""},
	} {
		t.Setenv("QSTASH_DEV_PORT", test.env)
		given := map[string]bool{"listen": test.listen != "", "port": test.port != ""}
		d := &dev{server: server{listen: defaultAddress}}
		if given["listen"] {
			d.listen = test.listen
		}
		if given["port"] {
			d.port, _ = strconv.Atoi(test.port)
		}
		got, err := d.address(func(flag string) bool { return given[flag] })
		if got != test.want || exitStatus(err) != map[bool]int{true: 2, false: 0}[test.want == ""] {
			t.Errorf("%+v: got %q, %v", test, got, err)
		}
	}
}
