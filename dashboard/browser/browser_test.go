package browser_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/recallmq/recall/internal/parttest"
)

var update = flag.Bool("update", false, "renew the pictures in docs/images")

// TestBrowser runs the cases of this folder in Chromium. Each is a test of its own.
func TestBrowser(t *testing.T) {
	browser := parttest.NeedBrowser(t, ".")
	screenshots, err := filepath.Abs(filepath.Join("..", "..", "bin", "screenshots"))
	if err != nil {
		t.Fatal(err)
	}
	settings := serve(t)
	settings.Screenshots = screenshots
	browser.Run(t, "cases", settings)
	if *update && !t.Failed() {
		keepPictures(t, screenshots)
	}
}

// settings are what the cases have to know.
type settings struct {
	Screenshots string            `json:"screenshots"`
	URL         string            `json:"url"`      // everything is allowed, and no case changes anything
	Work        string            `json:"work"`     // what cases change, each what is of its own
	ReadOnly    string            `json:"readOnly"` // nothing is
	Login       string            `json:"login"`    // with a token
	Token       string            `json:"token"`
	Empty       string            `json:"empty"` // a broker without anything
	Pages       map[string]string `json:"pages"` // to look at, by the name of their picture
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
