package parttest

import (
	"bufio"
	"context"
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
)

// Browser runs cases of the folder dashboard/browser in Chromium.
type Browser struct {
	dir, chrome, node string
}

// NeedBrowser finds the parts, as [Need] does, and brings the packages of the lockfile in
// dir, which is the path of dashboard/browser.
func NeedBrowser(t *testing.T, dir string) *Browser {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes a while")
	}
	b := &Browser{dir: dir, chrome: needChrome(t), node: needNode(t)}
	b.install(t)
	return b
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
	return Need(t, "chromium")
}

// needNode returns the path of a Node that is new enough.
func needNode(t *testing.T) string {
	t.Helper()
	node := Need(t, "node")
	out, err := exec.Command(node, "--version").Output()
	if err != nil {
		Missing(t, "node does not work: "+err.Error())
	}
	version := strings.TrimSpace(string(out))
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	if n, _ := strconv.Atoi(major); n < 20 {
		Missing(t, "the browser tests need Node 20 or newer, and this is "+version)
	}
	return node
}

// install brings the packages of the lockfile, unless they are there. It is the only
// step that needs a network.
func (b *Browser) install(t *testing.T) {
	t.Helper()
	npm := Need(t, "npm")
	lock, err := os.ReadFile(filepath.Join(b.dir, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	want, stamp := hex.EncodeToString(sum[:]), filepath.Join(b.dir, "node_modules", ".installed")
	if have, err := os.ReadFile(stamp); err == nil && string(have) == want {
		return
	}
	// No script of a package is run: none brings a browser.
	cmd := exec.Command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
	cmd.Dir = b.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		Missing(t, "npm ci: "+err.Error()+": "+strings.TrimSpace(string(out)))
	}
	if err := os.WriteFile(stamp, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Run runs all cases of a folder in one browser, and makes a test of each. Cases run
// beside one another, and so none may depend on another. They know the settings, which
// JSON can say; "url" has to be one of the server.
func (b *Browser) Run(t *testing.T, folder string, settings any) {
	t.Helper()
	text, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.node, "run.mjs", folder)
	cmd.Dir = b.dir
	cmd.Env = append(os.Environ(), "CHROME="+b.chrome, "RECALL_BROWSER_TEST="+string(text))
	said := &strings.Builder{}
	cmd.Stderr = said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
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
