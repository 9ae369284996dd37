package browser_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/internal/parttest"
)

var update = flag.Bool("update", false, "renew the pictures in docs/images")

// TestBrowser runs the cases of this folder in Chromium. Each is a test of its own.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes a while")
	}
	chrome, node := needChrome(t), needNode(t)
	install(t)
	screenshots, err := filepath.Abs(filepath.Join("..", "..", "bin", "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	settings := serve(t)
	settings.Chrome, settings.Screenshots = chrome, screenshots
	runCases(t, node, settings)
	if *update && !t.Failed() {
		keepPictures(t, screenshots)
	}
}

// settings are what the cases have to know.
type settings struct {
	Chrome      string            `json:"chrome"`
	Screenshots string            `json:"screenshots"`
	URL         string            `json:"url"`      // everything is allowed, and no case changes anything
	Work        string            `json:"work"`     // what cases change, each what is of its own
	ReadOnly    string            `json:"readOnly"` // nothing is
	Login       string            `json:"login"`    // with a token
	Token       string            `json:"token"`
	Empty       string            `json:"empty"` // a broker without anything
	Pages       map[string]string `json:"pages"` // to look at, by the name of their picture
}

// needChrome returns the browser: that of $CHROME, or the one that
// scripts/setup.sh brings.
func needChrome(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("CHROME"); path != "" {
		return path
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return parttest.Need(t, "chromium")
}

// needNode returns the path of a Node that is new enough.
func needNode(t *testing.T) string {
	t.Helper()
	node := parttest.Need(t, "node")
	out, err := exec.Command(node, "--version").Output()
	if err != nil {
		parttest.Missing(t, "node does not work: "+err.Error())
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, _ := strconv.Atoi(major); n < 20 {
		parttest.Missing(t, "the browser tests need Node 20 or newer, and this is "+version)
	}
	return node
}

// install brings the packages of the lockfile, unless they are there. It is the only
// step that needs a network.
func install(t *testing.T) {
	t.Helper()
	npm := parttest.Need(t, "npm")
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	want, stamp := hex.EncodeToString(sum[:]), filepath.Join("node_modules", ".installed")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return
	}
	// No script of a package is run: none brings a browser.
	out, err := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier").CombinedOutput()
	if err != nil {
		parttest.Missing(t, "npm ci: "+err.Error()+": "+strings.TrimSpace(string(out)))
	}
	if err := os.WriteFile(stamp, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// runCases runs them all in one browser, and makes a test of each. Cases run beside
// one another, and so none may depend on another.
func runCases(t *testing.T, node string, s settings) {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "run.mjs")
	cmd.Env = append(os.Environ(), "RECALL_BROWSER_TEST="+string(text))
	said := &strings.Builder{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := time.AfterFunc(20*time.Minute, func() { _ = cmd.Process.Kill() })
	defer stop.Stop()
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); n++ {
		var o struct {
			Name, Error string
			MS          int
		}
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			t.Errorf("a case said %q", lines.Text())
			continue
		}
		t.Run(o.Name, func(t *testing.T) {
			t.Logf("took %d ms", o.MS)
			if o.Error != "" {
				t.Error(o.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil || n == 0 {
		t.Errorf("the cases ended early, after %d: %v\n%s", n, err, said)
	}
}

// TestLockfile holds the lockfile free of the addresses that packages came from.
func TestLockfile(t *testing.T) {
	text, err := os.ReadFile("package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct{ Version, Integrity, Resolved string }
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"axe-core", "playwright-core"} {
		if lock.Packages["node_modules/"+name].Version == "" {
			t.Errorf("%s has no version", name)
		}
	}
	for path, p := range lock.Packages {
		if p.Resolved != "" || path != "" && p.Integrity == "" {
			t.Errorf("%q names %q, and its hash is %q", path, p.Resolved, p.Integrity)
		}
	}
}
