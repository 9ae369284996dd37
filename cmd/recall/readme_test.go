package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// notRun are the commands of the README that the test does not run, each with the
// reason. That make knows them is checked.
var notRun = map[string]string{
	"make run":                          "it builds, and then runs recall demo, which demo.txt and demo-stays.txt run",
	"make test":                         "it runs this test",
	"make help":                         "it only prints the Makefile",
	"make build":                        "the program is built already: it is the one that is under test",
	"go get github.com/recallmq/recall": "it asks a module proxy",
}

var (
	anyBlock   = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")
	otherSpans = regexp.MustCompile("`((?:make|go (?:get|doc)|curl) ?[^`\n]+)`")
)

// TestReadmeCommands runs what the README shows at a prompt, in a fresh folder and
// in its order, and compares each answer. Ids, times and the port differ; the id
// of an answer is the one that later commands name. Every other command is run
// here too, or has a reason in notRun.
func TestReadmeCommands(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, block := range anyBlock.FindAllStringSubmatch(string(data), -1) {
		switch language, text := block[1], block[2]; language {
		case "console":
			ran += newPrompt(t).run(text)
		case "sh":
			for line := range strings.Lines(text) {
				command, _, _ := strings.Cut(line, "#")
				checkNotRun(t, strings.TrimSpace(command))
			}
		case "go": // examples/readme compiles and runs it
		default:
			t.Errorf("a block of %q, which no test looks at", language)
		}
	}
	if ran < 5 {
		t.Errorf("ran only %d commands", ran)
	}
	prose := anyBlock.ReplaceAllString(string(data), "")
	for _, m := range otherSpans.FindAllStringSubmatch(prose, -1) {
		if pkg, ok := strings.CutPrefix(m[1], "go doc "); ok {
			checkGoDoc(t, pkg)
		} else {
			checkNotRun(t, m[1])
		}
	}
}

// checkNotRun wants a reason for a command, and asks make whether it has that.
func checkNotRun(t *testing.T, command string) {
	t.Helper()
	if command == "" {
		return
	}
	if notRun[command] == "" {
		t.Errorf("README.md: %q is neither run nor has it a reason not to be", command)
	}
	target, ok := strings.CutPrefix(command, "make ")
	if _, err := exec.LookPath("make"); !ok || err != nil {
		return
	}
	out, err := exec.Command("make", "-C", "../..", "-n", target).CombinedOutput()
	if err != nil {
		t.Errorf("README.md: %s: %v\n%s", command, err, out)
	}
	if target == "run" && !strings.Contains(string(out), "bin/recall demo") {
		t.Errorf("make run is not recall demo:\n%s", out)
	}
}

func checkGoDoc(t *testing.T, pkg string) {
	t.Helper()
	cmd := exec.Command("go", "doc", pkg)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "func Open(") {
		t.Errorf("go doc %s: %v\n%s", pkg, err, out)
	}
}

// TestReadmeDemoNumbers: the README says how much the demo does.
func TestReadmeDemoNumbers(t *testing.T) {
	data, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	demo := commands(newRoot())["recall demo"]
	delayed, immediate := intDefault(t, demo, "delayed"), intDefault(t, demo, "immediate")
	for _, want := range []string{
		"publishes " + thousands(delayed+immediate) + " messages",
		"takes " + thousands(delayed*2/5) + " back", // "two of five", says the flag
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("README.md does not say %q", want)
		}
	}
}

func intDefault(t *testing.T, cmd *cobra.Command, flag string) int {
	t.Helper()
	n, err := strconv.Atoi(cmd.Flags().Lookup(flag).DefValue)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func thousands(n int) string { return fmt.Sprintf("%d,%03d", n/1000, n%1000) }

// What the README shows, quoted for an expression.
var (
	portShown = regexp.MustCompile(`http://127\\\.0\\\.0\\\.1:8080`)
	idShown   = regexp.MustCompile(`\b(msg|op)_[0-9A-Z]{26}\b`)
	timeShown = regexp.MustCompile(`\b[0-9.]+(µs|ms|s)\b`)
)

// prompt is a shell in a fresh folder.
type prompt struct {
	t    *testing.T
	sh   string
	dir  string
	env  []string
	real map[string]string // what the README shows: what it is here
}

func newPrompt(t *testing.T) *prompt {
	t.Helper()
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "recall")); err != nil {
		t.Fatal(err)
	}
	// Nothing of the caller's, such as the address of a server.
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "QSTASH_") || strings.HasPrefix(v, "RECALL_") || strings.HasPrefix(v, "PATH=")
	})
	env = append(env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), asProgram+"=1", "QSTASH_DEV_PORT=0")
	return &prompt{t: t, sh: sh, dir: t.TempDir(), env: env, real: map[string]string{}}
}

// run goes through the prompts of a block, and returns how many there were.
func (s *prompt) run(text string) (ran int) {
	s.t.Helper()
	for _, step := range strings.Split("\n"+text, "\n$ ")[1:] {
		command, answer, _ := strings.Cut(step, "\n")
		ran++
		if background, ok := strings.CutSuffix(command, " &"); ok {
			s.start(background, answer)
			continue
		}
		s.call(command, strings.TrimSuffix(answer, "\n"))
	}
	return ran
}

// start runs a server until the end of the test.
func (s *prompt) start(command, answer string) {
	s.t.Helper()
	args := words(command)
	if args[0] != "recall" {
		s.t.Fatalf("%q in the background", command)
	}
	p, err := startProgram(s.dir, s.env, args[1:]...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(p.kill)
	m, err := p.await(regexp.MustCompile(`(?m)^` + portShown.ReplaceAllString(regexp.QuoteMeta(strings.TrimSpace(answer)), `(http://127\.0\.0\.1:\d+)`) + `$`))
	if err != nil {
		s.t.Fatalf("%s: %v", command, err)
	}
	token, err := p.await(regexp.MustCompile(`QSTASH_TOKEN=(\S+)`))
	if err != nil {
		s.t.Fatal(err)
	}
	s.real["http://127.0.0.1:8080"] = m[1]
	s.env = append(s.env, "QSTASH_URL="+m[1], "QSTASH_TOKEN="+token[1], "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1")
}

// call runs a command, and compares its answer.
func (s *prompt) call(command, want string) {
	s.t.Helper()
	for shown, here := range s.real {
		command = strings.ReplaceAll(command, shown, here)
	}
	if program := words(command)[0]; program != "recall" {
		if _, err := exec.LookPath(program); err != nil {
			s.t.Logf("not run, there is no %s: %s", program, command)
			return
		}
	}
	cmd := exec.CommandContext(s.t.Context(), s.sh, "-c", command)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, out)
	}
	s.compare(command, want, strings.TrimSuffix(string(out), "\n"))
}

// compare takes ids and times for others of their kind, and keeps the ids.
func (s *prompt) compare(command, want, got string) {
	s.t.Helper()
	pattern := timeShown.ReplaceAllString(regexp.QuoteMeta(want), `[0-9.]+(?:µs|ms|s)`)
	pattern = idShown.ReplaceAllString(pattern, `(${1}_[0-9A-Z]{26})`)
	m := regexp.MustCompile("^" + pattern + "$").FindStringSubmatch(got)
	if m == nil {
		s.t.Errorf("%s\ngot:\n%s\nREADME.md has:\n%s", command, got, want)
		return
	}
	for i, shown := range idShown.FindAllString(want, -1) {
		s.real[shown] = m[i+1]
	}
}
