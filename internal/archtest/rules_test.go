package archtest

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// The rules themselves: each must be able to fail.

func TestImportRules(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		ok            bool
	}{
		{"", "fmt", true},
		{"", "testing", false},
		{"", "testing/synctest", false},
		{"", Module + "/store", true},
		{"", Module + "/internal/posting", true},
		{"", "go.etcd.io/bbolt", false},
		{"", "github.com/jackc/pgx/v5", false},
		{"", Module + "/qstash", false},
		{"", Module + "/enginetest", false},
		{"", Module + "/cmd/recall", false},
		{"store", "go.etcd.io/bbolt", true},
		{"store", "go.etcd.io/bbolt/errors", true},
		{"store", "go.etcd.io/bboltx", false},
		{"store", Module, false},
		{"store", Module + "/internal/posting", false},
		{"store", "github.com/google/btree", false},
		{"internal/posting", Module, false},
		{"internal/posting", Module + "/store", false},
		{"internal/posting", Module + "/internal/other", true},
		{"qstash", Module, true},
		{"qstash", Module + "/store", false},
		{"qstash", "github.com/spf13/cobra", false},
		{"dashboard", Module, true},
		{"dashboard", Module + "/internal/cron", true},
		{"dashboard", Module + "/internal/posting", false},
		{"dashboard", Module + "/qstash", false},
		{"dashboard", Module + "/store", false},
		{"dashboard", "github.com/oklog/ulid/v2", false},
		{"admin", Module, true},
		{"admin", Module + "/qstash", false},
		{"admin", Module + "/store", false},
		{"enginetest", "testing", true},
		{"enginetest", Module, true},
		{"enginetest", Module + "/store", false},
		{"enginetest", porcupine, true},
		{"postgres", porcupine, false},
		{"recalltest", Module + "/qstash", true},
		{"recalltest", Module + "/enginetest", false},
		{"recalltest", "testing", false},
		{"cmd/recall", Module + "/recalltest", true},
		{"examples/reminders", Module + "/recalltest", false},
		{"postgres", "github.com/jackc/pgx/v5", true},
		{"postgres", Module + "/store", false},
		{"postgres", Module + "/postgres/pgserver", false},
		{"postgres/pgtest", Module + "/postgres/pgserver", true},
		{"postgres/pgserver", Module, false},
		{"qstash", Module + "/bench", false},
		{"cmd/recall", Module + "/qstash", true},
		{"cmd/recall", "github.com/spf13/cobra", true},
		{"cmd/recall", Module + "/bench", false},
		{"cmd/recall", Module + "/enginetest", false},
		{"cmd/recall", "testing", false},
		{"metrics", Module, true},
		{"metrics", Module + "/store", false},
		{"metrics", "github.com/prometheus/client_golang/prometheus", true},
		{"metrics", "go.opentelemetry.io/otel", false},
		{"tracing", "go.opentelemetry.io/otel", true},
		{"tracing", "go.opentelemetry.io/otel/trace", true},
		{"tracing", "go.opentelemetry.io/otel/sdk/trace", false},
		{"", Module + "/tracing", false},
		{"bench", Module + "/cmd/recall", false},
		{"bench", Module + "/bench/peer", true},
		{"bench/peer", Module, true},
		{"bench/peer", Module + "/store", false},
		{"bench/peer", Module + "/postgres", true},
		{"bench/peer", Module + "/postgres/pgserver", true},
		{"bench/peer", Module + "/postgres/pgtest", false},
		{"bench/peer", "github.com/nats-io/nats.go", true},
		{"unheard", Module, false},
	} {
		if fault := CheckImport(c.pkg, false, c.imported); (fault == "") != c.ok {
			t.Errorf("CheckImport(%q, %q) = %q, want ok %v", c.pkg, c.imported, fault, c.ok)
		}
	}
	for imported, ok := range map[string]bool{
		"testing": true, Module + "/enginetest": true, "pgregory.net/rapid": true, Module + "/bench": false, porcupine: false,
	} {
		if fault := CheckImport("", true, imported); (fault == "") != ok {
			t.Errorf("CheckImport of %q in a test = %q, want ok %v", imported, fault, ok)
		}
	}
	for linked, ok := range map[string]bool{
		"fmt": true, Module: true, "go.etcd.io/bbolt/internal/common": true, "golang.org/x/sys/unix": true,
		"golang.org/x/term": false, "github.com/spf13/cobra": false, porcupine: false, Module + "/qstash": false, Module + "/storefront": false,
	} {
		if fault := CheckLinked(linked); (fault == "") != ok {
			t.Errorf("CheckLinked(%q) = %q, want ok %v", linked, fault, ok)
		}
	}
}

func TestModuleRules(t *testing.T) {
	const (
		rootMod  = `{"Module":{"Path":"` + Module + `"},"Go":"1.25.0"}`
		cmdMod   = `{"Module":{"Path":"` + Module + `/cmd/recall"},"Go":"1.25","Require":[{"Path":"` + Module + `"}],"Replace":[{"Old":{"Path":"` + Module + `"},"New":{"Path":"../.."}}]}`
		benchMod = `{"Module":{"Path":"` + Module + `/bench"},"Go":"1.25.0"}`
	)
	all := []string{".", "./cmd/recall", "./bench"}
	for _, c := range []struct {
		name             string
		root, cmd, bench string
		work             []string
		says             string // "" if all is well
	}{
		{"well", rootMod, cmdMod, benchMod, all, ""},
		{"bench is no module", rootMod, cmdMod, "", all, "bench is no module of its own"},
		{"cmd is no module", rootMod, "", benchMod, all, "cmd/recall is no module of its own"},
		{"not in go.work", rootMod, cmdMod, benchMod, all[:2], "bench: go.work does not name it"},
		{"another name", rootMod, cmdMod, strings.Replace(benchMod, "/bench", "/benches", 1), all, "bench: module"},
		{"a newer Go", strings.Replace(rootMod, "1.25.0", "1.26.0", 1), cmdMod, benchMod, all, ".: go 1.26.0"},
		{"the root requires one", rootMod[:len(rootMod)-1] + `,"Require":[{"Path":"` + Module + `/bench"}]}`, cmdMod, benchMod, all, "the root module requires"},
		{"replaced by a wrong folder", rootMod, strings.Replace(cmdMod, "../..", "..", 1), benchMod, all, "cmd/recall: requires"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var found []ModFile
			for folder, text := range map[string]string{".": c.root, "cmd/recall": c.cmd, "bench": c.bench} {
				if text == "" {
					continue
				}
				m := ModFile{Folder: folder}
				if err := json.Unmarshal([]byte(text), &m); err != nil {
					t.Fatal(err)
				}
				found = append(found, m)
			}
			work := c.work
			for _, folder := range ownModules { // the others are well
				if folder != "cmd/recall" && folder != "bench" {
					m := ModFile{Folder: folder, Go: OldestGo}
					m.Module.Path = Module + "/" + folder
					found, work = append(found, m), append(slices.Clone(work), folder)
				}
			}
			faults := CheckModules(found, work)
			if c.says == "" && len(faults) > 0 || c.says != "" && (len(faults) != 1 || !strings.HasPrefix(faults[0], c.says)) {
				t.Errorf("got %q, want %q", faults, c.says)
			}
		})
	}
}

func TestLockRules(t *testing.T) {
	for _, c := range []struct {
		name, body string
		faults     int
	}{
		{"send", `func f() { e.mu.Lock(); c <- 1; e.mu.Unlock() }`, 1},
		{"send after", `func f() { e.mu.Lock(); e.mu.Unlock(); c <- 1 }`, 0},
		{"reader", `func f() { e.mu.RLock(); c <- 1; e.mu.RUnlock() }`, 1},
		{"tried", `func f() { if !e.mu.TryLock() { return }; c <- 1 }`, 1},
		{"deferred", `func f() { e.mu.Lock(); defer e.mu.Unlock(); c <- 1 }`, 1},
		{"receive", `func f() { e.mu.Lock(); x := <-c; e.mu.Unlock() }`, 1},
		{"receive in a return", `func f() int { e.mu.Lock(); defer e.mu.Unlock(); return <-c }`, 1},
		{"select that waits", `func f() { e.mu.Lock(); select { case c <- 1: }; e.mu.Unlock() }`, 1},
		{"select with default", `func f() { e.mu.Lock(); select { case c <- 1: default: }; e.mu.Unlock() }`, 0},
		{"send after a select", `func f() { e.mu.Lock(); select { case <-c: d <- 1; default: }; e.mu.Unlock() }`, 1},
		{"sleep", `func f() { e.mu.Lock(); time.Sleep(1); e.mu.Unlock() }`, 1},
		{"view", `func f() { e.mu.Lock(); e.store.View(nil); e.mu.Unlock() }`, 1},
		{"begin", `func f() { e.mu.Lock(); tx := e.store.Begin(); e.mu.Unlock() }`, 1},
		{"commit", `func f() { e.mu.Lock(); if err := tx.Commit(); err != nil { }; e.mu.Unlock() }`, 1},
		{"locked by name", `func fLocked() { c <- 1 }`, 1},
		{"locked by name, let go", `func fLocked() { e.mu.Unlock(); c <- 1; e.mu.Lock() }`, 0},
		{"locked by name, taken again", `func fLocked() { e.mu.Unlock(); e.mu.Lock(); c <- 1 }`, 1},
		{"in a loop", `func f() { for { e.mu.Lock(); c <- 1; e.mu.Unlock() } }`, 1},
		{"held from the round before", `func f() { for i := range 3 { c <- i; e.mu.Lock() } }`, 1},
		{"let go in each round", `func f() { for i := range 3 { c <- i; e.mu.Lock(); e.mu.Unlock() } }`, 0},
		{"broken out of", `func f() { for { e.mu.Lock(); if x { break }; e.mu.Unlock() }; c <- 1 }`, 1},
		{"continued", `func f() { for x() { c <- 1; e.mu.Lock(); if y { continue }; e.mu.Unlock() } }`, 1},
		{"early unlock", `func f() { e.mu.Lock(); if x { e.mu.Unlock(); c <- 1; return }; c <- 1; e.mu.Unlock() }`, 1},
		{"unlocked on one way only", `func f() { e.mu.Lock(); if x { e.mu.Unlock() }; c <- 1 }`, 1},
		{"unlocked on both ways", `func f() { e.mu.Lock(); if x { e.mu.Unlock() } else { e.mu.Unlock() }; c <- 1 }`, 0},
		{"locked in a case", `func f() { switch x { case 1: e.mu.Lock() }; c <- 1 }`, 1},
		{"unlocked in every case", `func f() { e.mu.Lock(); switch x { case 1: e.mu.Unlock(); default: e.mu.Unlock() }; c <- 1 }`, 0},
		{"fallen through", `func f() { switch x { case 1: e.mu.Lock(); fallthrough; default: c <- 1 } }`, 1},
		{"two locks", `func f() { a.mu.Lock(); b.mu.Lock(); b.mu.Unlock(); c <- 1 }`, 1},
		{"visitor", `func f() { e.mu.Lock(); walk(func() { c <- 1 }); e.mu.Unlock() }`, 1},
		{"returned function", `func f() func() { e.mu.Lock(); defer e.mu.Unlock(); return func() { c <- 1 } }`, 0},
		{"goroutine", `func f() { e.mu.Lock(); go func() { c <- 1 }(); e.mu.Unlock() }`, 0},
		{"goroutine with a lock", `func f() { go func() { e.mu.Lock(); c <- 1 }() }`, 1},
		{"timer", `func f() { e.mu.Lock(); time.AfterFunc(d, func() { c <- 1 }); e.mu.Unlock() }`, 0},
		{"deferred function", `func f() { e.mu.Lock(); defer func() { c <- 1; e.mu.Unlock() }() }`, 1},
		{"by a helper", `func f() { e.mu.Lock(); e.tell(); e.mu.Unlock() }; func (e *E) tell() { c <- 1 }`, 1},
		{"by a helper's helper", `func f() { e.mu.Lock(); tell(); e.mu.Unlock() }; func tell() { pass() }; func pass() { c <- 1 }`, 1},
		{"a builtin of a method's name", `func f() { e.mu.Lock(); close(c); e.mu.Unlock() }; func (e *E) close() { <-c }`, 0},
		{"a helper that does not", `func f() { e.mu.Lock(); e.tell(); e.mu.Unlock() }; func (e *E) tell() { select { case c <- 1: default: } }`, 0},
		{"a helper that lets go", `func f() { e.mu.Lock(); pauseLocked(); e.mu.Unlock() }; func pauseLocked() { e.mu.Unlock(); c <- 1; e.mu.Lock() }`, 0},
		{"another lock", `func f() { e.life.Lock(); c <- 1; e.life.Unlock() }`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, "x.go", "package x\n"+c.body, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := CheckLocks(fset, []*ast.File{file}); len(got) != c.faults {
				t.Errorf("got %q, want %d faults", got, c.faults)
			}
		})
	}
}
