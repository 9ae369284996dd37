package sdk_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/internal/parttest"
	"github.com/recallmq/recall/qstash"
)

// versions of the JavaScript SDK that sdk/js/package-lock.json fixes.
var versions = []string{"2.7.23", "2.9.0", "2.12.0"}

// TestJavaScript runs the cases of sdk/js with each version, each against a
// recall dev of its own. A case is a test of its own.
func TestJavaScript(t *testing.T) {
	node := needNode(t)
	if os.Getenv("RECALL_SDK_LATEST") != "" {
		folder, version := installLatest(t)
		runCases(t, node, folder, version)
		return
	}
	packages := install(t)
	found := newFindings(versions...)
	t.Run("npm", func(t *testing.T) {
		for _, version := range versions {
			t.Run(version, func(t *testing.T) {
				t.Parallel()
				found.set(version, runCases(t, node, filepath.Join(packages, "qstash-"+version), version))
			})
		}
	})
	checkTable(t, "JavaScript", javascriptRows, found)
}

// TestLockfile holds the lockfile to the versions, and free of the addresses
// that packages came from.
func TestLockfile(t *testing.T) {
	text, err := os.ReadFile("js/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for _, version := range versions {
		if got := lock.Packages["node_modules/qstash-"+version].Version; got != version {
			t.Errorf("qstash-%s is version %q", version, got)
		}
	}
	for path, p := range lock.Packages {
		if p.Resolved != "" || path != "" && p.Integrity == "" {
			t.Errorf("%q names %q, and its hash is %q", path, p.Resolved, p.Integrity)
		}
	}
}

// needNode returns the path of a Node that is new enough.
func needNode(t testing.TB) string {
	t.Helper()
	node := parttest.Need(t, "node")
	out, err := exec.Command(node, "--version").Output()
	if err != nil {
		parttest.Missing(t, "node does not work: "+err.Error())
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, _ := strconv.Atoi(major); n < 20 {
		parttest.Missing(t, "the JavaScript SDK needs Node 20 or newer, and this is "+version)
	}
	return node
}

// install brings the packages of the lockfile into js/node_modules, unless they
// are there, and returns that folder. It is the only step that needs a network.
func install(t *testing.T) string {
	t.Helper()
	npm := parttest.Need(t, "npm")
	lock, err := os.ReadFile("js/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	want := hex.EncodeToString(sum[:])
	stamp := filepath.Join("js", "node_modules", ".installed")
	if have, err := os.ReadFile(stamp); err != nil || string(have) != want {
		runNPM(t, npm, "js", "ci")
		if err := os.WriteFile(stamp, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := filepath.Abs(filepath.Join("js", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

// installLatest brings the newest version into a folder of its own.
func installLatest(t *testing.T) (folder, version string) {
	t.Helper()
	npm, dir := parttest.Need(t, "npm"), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	runNPM(t, npm, dir, "install", "@upstash/qstash@latest")
	folder = filepath.Join(dir, "node_modules", "@upstash", "qstash")
	text, err := os.ReadFile(filepath.Join(folder, "package.json"))
	if err != nil {
		t.Fatal(err)
	}
	var about struct{ Version string }
	if err := json.Unmarshal(text, &about); err != nil {
		t.Fatal(err)
	}
	t.Logf("the newest version is %s", about.Version)
	return folder, about.Version
}

// runNPM runs npm in a folder. Scripts of packages are not run.
func runNPM(t *testing.T, npm, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(npm, append(args, "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		parttest.Missing(t, "npm "+strings.Join(args, " ")+": "+err.Error()+": "+strings.TrimSpace(string(out)))
	}
}

// outcome is a line of js/run.mjs.
type outcome struct {
	Name, Outcome, Error string
	MS                   int
}

// runCases runs all cases with the SDK in the folder and returns how each row
// of the table did.
func runCases(t *testing.T, node, folder, version string) map[string]mark {
	t.Helper()
	cmd := exec.Command(node, "run.mjs", folder)
	cmd.Dir = "js"
	cmd.Env = caseEnvironment(t, startRecall(t))
	said := &tail{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	marks := map[string]mark{}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var o outcome
		if json.Unmarshal(lines.Bytes(), &o) != nil {
			continue // the SDK tells something
		}
		report(t, o)
		row, _, _ := strings.Cut(o.Name, ": ")
		marks[row] = marks[row].and(o.Outcome)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the cases for %s ended early: %v\n%s", version, err, said)
	}
	return marks
}

// report makes a test of a case. What a version lacks is none.
func report(t *testing.T, o outcome) {
	if o.Outcome == "absent" {
		return
	}
	t.Run(o.Name, func(t *testing.T) {
		t.Logf("took %d ms", o.MS)
		if o.Outcome != "pass" {
			t.Error(o.Error)
		}
	})
}

// caseEnvironment is all that the SDK finds around it: a home without anything
// that dev mode could start, and the settings that recall dev prints.
func caseEnvironment(t *testing.T, url string) []string {
	env := []string{
		"HOME=" + t.TempDir(), "QSTASH_URL=" + url, "QSTASH_TOKEN=" + qstash.DevToken,
		"QSTASH_CURRENT_SIGNING_KEY=" + qstash.DevCurrentSigningKey, "QSTASH_NEXT_SIGNING_KEY=" + qstash.DevNextSigningKey,
	}
	for _, name := range []string{"PATH", "TMPDIR", "SystemRoot", "TEMP"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}
