// Package archtest holds the rules of the house: who may import whom, what a
// module is, and what may not happen under a lock. Its tests read the source of
// every module, and show each rule a case that breaks it.
package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Module is the import path of the root package.
const Module = "github.com/recallmq/recall"

const (
	anyOfOurs   = "ours"   // stands for every package of Recall
	anyOfOthers = "others" // stands for every package of other modules
)

// allowed says what a package may import besides the standard library. Names
// are packages of Recall by their folder, "" being the root, or import paths of
// others; the first rule whose pattern matches counts. What follows holds for
// all of them: nobody imports cmd or bench, and only tests import …test
// packages, but for recall dev, which serves recalltest to suites in other
// languages. So that package does not import testing.
var allowed = []struct {
	pattern string
	imports []string
}{
	{"", []string{"store", "internal/*", "github.com/google/btree", "github.com/oklog/ulid/v2"}},
	{"store", []string{"go.etcd.io/bbolt", "go.etcd.io/bbolt/*", "golang.org/x/sys/*"}},
	{"internal/cron", []string{cronParser}},
	{"internal/*", []string{"internal/*", "github.com/google/btree"}},
	{"qstash", []string{"", "internal/*", jwtLibrary}},
	{"egress", []string{""}},
	{"dashboard", []string{"", "internal/cron"}},
	{"admin", []string{"", "internal/bearer"}},
	{"dump", []string{""}},
	{"enginetest", []string{"", "github.com/oklog/ulid/v2", "pgregory.net/rapid", porcupine}},
	{"recalltest", []string{"", "qstash"}},
	{"postgres", []string{"", anyOfOthers}},
	{"postgres/*", []string{"postgres/pgserver", anyOfOthers}},
	{"metrics", []string{"", "github.com/prometheus/client_golang/*"}},
	{"tracing", []string{
		"", "go.opentelemetry.io/otel", "go.opentelemetry.io/otel/attribute", "go.opentelemetry.io/otel/codes",
		"go.opentelemetry.io/otel/propagation", "go.opentelemetry.io/otel/semconv/*", "go.opentelemetry.io/otel/trace",
	}},
	{"examples/*", []string{"", "qstash", "recalltest"}},
	{"cmd/*", []string{anyOfOurs, anyOfOthers}},
	{"bench", []string{anyOfOurs, anyOfOthers}},
	{"bench/*", []string{"", "postgres", "postgres/pgserver", anyOfOthers}},
}

// cronParser reads lines of cron. Only internal/cron knows it, which says by
// itself when a line is due.
const cronParser = "github.com/netresearch/go-cron"

// jwtLibrary makes and checks the signatures of deliveries.
const jwtLibrary = "github.com/golang-jwt/jwt/v5"

// porcupine searches for an order in which concurrent calls make sense. The
// model that it needs is the contract of an engine, and that is in enginetest
// alone: a test elsewhere runs that suite, and writes no second model.
const porcupine = "github.com/anishathalye/porcupine"

// CheckImport says why a package, named by its folder, may not import another,
// or returns "". In a test file, only cmd, bench and, but for enginetest,
// porcupine are out of bounds.
func CheckImport(pkg string, testFile bool, imported string) string {
	if standard(imported) {
		if (imported == "testing" || strings.HasPrefix(imported, "testing/")) && !testFile && (!isTestPackage(pkg) || pkg == "recalltest") {
			return fmt.Sprintf("%q imports %s: only tests and packages that nothing but tests link may", pkg, imported)
		}
		return ""
	}
	short, ours := shorten(imported)
	own, _, _ := strings.Cut(pkg, "/")
	if top, _, _ := strings.Cut(short, "/"); ours && (top == "cmd" || top == "bench" && own != "bench") {
		return fmt.Sprintf("%q imports %q: nobody may", pkg, short)
	}
	if imported == porcupine && pkg != "enginetest" {
		return fmt.Sprintf("%q imports %s: only enginetest may", pkg, imported)
	}
	if testFile {
		return ""
	}
	if ours && isTestPackage(short) && (pkg != "cmd/recall" || short != "recalltest") {
		return fmt.Sprintf("%q imports %q: only tests may", pkg, short)
	}
	for _, rule := range allowed {
		if !matches(rule.pattern, pkg) {
			continue
		}
		if slices.ContainsFunc(rule.imports, func(p string) bool {
			return p == anyOfOurs && ours || p == anyOfOthers && !ours || matches(p, short)
		}) {
			return ""
		}
		return fmt.Sprintf("%q may not import %q", pkg, short)
	}
	return fmt.Sprintf("no rule says what %q may import", pkg)
}

// standard tells a package of the standard library by its first element, which
// is no host.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func isTestPackage(pkg string) bool { return strings.HasSuffix(pkg, "test") }

// shorten cuts Recall's own path off.
func shorten(imported string) (short string, ours bool) {
	if imported == Module {
		return "", true
	}
	return strings.CutPrefix(imported, Module+"/")
}

// matches is path.Match, where a star at the end also stands for slashes.
func matches(pattern, name string) bool {
	if prefix, wild := strings.CutSuffix(pattern, "/*"); wild {
		return strings.HasPrefix(name, prefix+"/")
	}
	ok, _ := path.Match(pattern, name) // the patterns above are well formed
	return ok
}

// linkable is all that a program which imports the root package links.
var linkable = []string{
	Module, Module + "/store", Module + "/internal/*",
	"go.etcd.io/bbolt", "go.etcd.io/bbolt/*", "golang.org/x/sys/*",
	"github.com/google/btree", "github.com/oklog/ulid/v2", cronParser,
}

// CheckLinked says why the root package may not link another, or returns "".
// The standard library carries some of its own code under vendor/.
func CheckLinked(linked string) string {
	if standard(linked) || slices.ContainsFunc(linkable, func(p string) bool { return matches(p, linked) }) {
		return ""
	}
	return fmt.Sprintf("the root package links %q", linked)
}
