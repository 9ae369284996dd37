package metrics_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/VictoriaMetrics/metricsql"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v3"

	"github.com/recallmq/recall/metrics"
)

var (
	docFile       = filepath.Join("..", "docs", "metrics.md")
	dashboardFile = filepath.Join("..", "docs", "grafana", "recall.json")
	alertFile     = filepath.Join("..", "docs", "grafana", "alerts.yml")
)

// families are all that a broker exports that has seen some of everything.
func families(t *testing.T) (all []*dto.MetricFamily) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := prometheus.NewPedanticRegistry()
		r.MustRegister(metrics.NewCollector(lived(t), nil))
		var err error
		if all, err = r.Gather(); err != nil {
			t.Fatal(err)
		}
	})
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedMetrics holds the table of the documentation against what is exported.
func TestDocumentedMetrics(t *testing.T) {
	const begin, end = "<!-- metrics: written by go test -update in metrics -->\n", "<!-- end -->\n"
	text := read(t, docFile)
	before, rest, ok := strings.Cut(text, begin)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table", docFile)
	}
	want := table(families(t))
	if *update {
		if err := os.WriteFile(docFile, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("go test -update writes the table of %s anew; want\n%s", docFile, want)
	}
}

func table(all []*dto.MetricFamily) string {
	var out strings.Builder
	out.WriteString("\n| metric | type | labels | |\n| --- | --- | --- | --- |\n")
	for _, f := range all {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		help := strings.TrimSuffix(f.GetHelp(), ".")
		fmt.Fprintf(&out, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), help)
	}
	out.WriteString("\n")
	return out.String()
}

// metricName finds names of metrics in texts of any kind.
var metricName = regexp.MustCompile(`\brecall_[a-z0-9_]+`)

// TestNamesAreExported: documentation, dashboard and alerts name nothing that is not
// exported, and the dashboard shows all that is.
func TestNamesAreExported(t *testing.T) {
	known, shown := map[string]string{}, map[string]bool{} // series → metric; metric → by the dashboard
	for _, f := range families(t) {
		name := f.GetName()
		known[name] = name
		if f.GetType() == dto.MetricType_HISTOGRAM {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[name+suffix] = name
			}
		}
	}
	for _, path := range []string{docFile, dashboardFile, alertFile} {
		names := metricName.FindAllString(read(t, path), -1)
		if len(names) == 0 {
			t.Errorf("%s names no metric", path)
		}
		for _, name := range names {
			metric, ok := known[name]
			if !ok {
				t.Errorf("%s: %s is not exported", path, name)
			}
			shown[metric] = shown[metric] || path == dashboardFile
		}
	}
	for _, name := range slices.Sorted(maps.Values(known)) {
		if !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}
}

// ruleFile is what Prometheus reads.
type ruleFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert               string
			Expr                string
			For                 string
			Labels, Annotations map[string]string
		}
	}
}

// TestAlerts: the rules are well formed, and the documentation says what to do about
// each.
func TestAlerts(t *testing.T) {
	var rules ruleFile
	d := yaml.NewDecoder(strings.NewReader(read(t, alertFile)))
	d.KnownFields(true)
	if err := d.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if names[r.Alert] || r.Alert == "" {
				t.Errorf("an alert is named %q, and another one is", r.Alert)
			}
			names[r.Alert] = true
			parse(t, r.Alert, r.Expr)
			if r.For != "" {
				if _, err := model.ParseDuration(r.For); err != nil {
					t.Errorf("%s: for: %v", r.Alert, err)
				}
			}
			if s := r.Labels["severity"]; s != "warning" && s != "critical" || len(r.Labels) != 1 {
				t.Errorf("%s: labels %v, want a severity", r.Alert, r.Labels)
			}
			if r.Annotations["summary"] == "" || len(r.Annotations) != 1 {
				t.Errorf("%s: annotations %v, want a summary", r.Alert, r.Annotations)
			}
		}
	}
	if len(names) == 0 {
		t.Error("there are no rules")
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(Recall[A-Za-z]+)` \\|").FindAllStringSubmatch(read(t, docFile), -1) {
		documented[m[1]] = true
	}
	if !maps.Equal(names, documented) {
		t.Errorf("%s documents %v, the rules are %v", docFile, slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(names)))
	}
}

// parse checks an expression. The parser knows all of PromQL, and more.
func parse(t *testing.T, where, expr string) {
	t.Helper()
	if expr == "" {
		t.Errorf("%s: there is no expression", where)
	}
	if _, err := metricsql.Parse(expr); err != nil {
		t.Errorf("%s: %q: %v", where, expr, err)
	}
}

// TestDashboard: the dashboard is well formed, and each panel asks for something.
func TestDashboard(t *testing.T) {
	var dashboard struct {
		Title, UID string
		Panels     []struct {
			ID          int
			Type, Title string
			Targets     []struct{ RefID, Expr string }
			GridPos     struct{ X, Y, W, H int }
		}
	}
	if err := json.NewDecoder(bytes.NewReader([]byte(read(t, dashboardFile)))).Decode(&dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*", "$instance", ".*")
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("%s: another panel has the id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %q, or beyond the right edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if len(p.Targets) == 0 && p.Type != "row" {
			t.Errorf("%s asks for nothing", p.Title)
		}
		for _, q := range p.Targets {
			parse(t, p.Title, variables.Replace(q.Expr))
		}
	}
	if dashboard.Title == "" || dashboard.UID == "" || len(ids) == 0 {
		t.Errorf("the dashboard is empty: %+v", dashboard)
	}
}
