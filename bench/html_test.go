package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// fixedReport has a row of each kind, and texts that a page must not take for
// its own.
func fixedReport() *report {
	r := newReport(machine{OS: "linux", Arch: "amd64", Cores: 2, CPU: "<fast & cheap>", FileSystem: "tmpfs", GoVersion: "go1", GOGC: "100"}, tiny)
	r.begin("publish", "durable publish against <nothing>")
	lat := quantiles{100, time.Millisecond, 3 * time.Millisecond, 20 * time.Millisecond}
	r.rates("WAL, 1 writer", "msg/s", series{900, 1000, 1100}).latency(lat)
	r.rates("publish, 1 goroutine", "msg/s", series{500}).latency(lat).ratio("WAL", 0.4, 0.5, 0.6).atLeast(7, 0.45)
	r.rates("publish, 16 goroutines", "msg/s", series{300}).ratio("WAL", 0.3).atLeast(7, 0.45)
	r.rates("beside <b>others</b>", "ms", series{3}).ratio("one & two", 1.5)
	r.note("a note of 1 < 2")
	r.begin("scale", "a grid")
	r.rates("by nothing", "", series{1}).ratio("none", math.Inf(1)).atMost(1, 5)
	r.times("no samples", quantiles{})
	r.times("too fast", quantiles{Samples: 1})
	r.curve(&curve{"open", "ms", []int{10, 100}, []float64{0, 3}})
	r.curve(&curve{"heap", "B", []int{10, 100}, []float64{100, 100}})
	r.gridLine([]string{"answer ms", "growth B"}, "1k of 4k", recallName, series{1, 2}, nil)
	return r
}

func TestPage(t *testing.T) {
	r := fixedReport()
	var out strings.Builder
	if err := r.writeHTML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	checkPage(t, text)
	for _, want := range []string{
		`<section id="publish">`, `<section id="scale">`, "&lt;fast &amp; cheap&gt;", "0.5 [0.4–0.6]× WAL", "7: ≥ 0.45 MISS", "7: ≥ 0.45 OK",
		`<tr class="missed">`, `<tr class="held">`, "1 / 3 / 20 (100)", "a note of 1 &lt; 2", "never syncs", "answer ms",
		"1 targets held, 2 missed", "publish, 16 goroutines: 1.5<",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	for plot, want := range map[string]int{
		"All targets, as shares of their bounds": 1, "publish: ratios to WAL": 1, "publish: ratios to one &amp; two": 1,
		"publish: latencies": 1, "scale: latencies": 1, "scale: ratios": 0, "scale: ms by size of the file": 1, "scale: B by size": 1,
	} {
		if got := strings.Count(text, `aria-label="`+plot); got != want {
			t.Errorf("%d plots %q, want %d", got, plot, want)
		}
	}
}

// checkPage reads the page strictly: each element is closed, and nothing is
// loaded, from anywhere.
func checkPage(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	d.Entity = xml.HTMLEntity
	svgs := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "svg":
			svgs++
		case "script", "link", "img", "iframe", "object", "embed", "image", "use":
			t.Errorf("the page has an element <%s>", e.Name.Local)
		}
		for _, a := range e.Attr {
			if (a.Name.Local == "href" || a.Name.Local == "src") && !strings.HasPrefix(a.Value, "#") {
				t.Errorf("<%s> refers to %q", e.Name.Local, a.Value)
			}
		}
	}
	if svgs == 0 {
		t.Error("the page has no plot")
	}
	if found := regexp.MustCompile(`https?://|url\(|@import|xmlns`).FindString(text); found != "" {
		t.Errorf("the page has %q", found)
	}
}

// TestSaved: the page is beside the figures unless it is to be elsewhere.
func TestSaved(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ html, want string }{{"", "run.html"}, {filepath.Join(dir, "sub", "page.html"), "sub/page.html"}} {
		if err := fixedFinite().save(filepath.Join(dir, "run.json"), c.html, io.Discard); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, c.want))
		if err != nil {
			t.Fatal(err)
		}
		checkPage(t, string(text))
	}
}

// fixedFinite is the fixed report without what JSON cannot hold.
func fixedFinite() *report {
	r := fixedReport()
	r.Workloads = r.Workloads[:1]
	return r
}
