// Package archtest holds the rules of the house: who may import whom, and what
// may not happen under a lock. Its test reads the source of every package.
package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// Module is the import path of the root package.
const Module = "github.com/recallmq/recall"

// anyOfOurs stands for every package of this module.
const anyOfOurs = "*"

// allowed says what a package may import besides the standard library. Names
// without a dot are packages of this module; "" is the root. The first rule
// whose pattern matches counts.
var allowed = []struct {
	pattern string
	imports []string
}{
	{"", []string{"store", "internal/*", "github.com/google/btree", "github.com/oklog/ulid/v2"}},
	{"store", []string{"go.etcd.io/bbolt", "go.etcd.io/bbolt/errors", "golang.org/x/sys/*"}},
	{"internal/*", []string{"internal/*", "github.com/google/btree"}},
	{"qstash", []string{""}},
	{"dashboard", []string{""}},
	{"enginetest", []string{"", "github.com/oklog/ulid/v2", "pgregory.net/rapid"}},
	{"recalltest", []string{"", "qstash"}},
	{"examples/*", []string{anyOfOurs}},
}

// CheckImport says why pkg, a package of the root module by its path below the
// module, may not import imported, or returns "".
func CheckImport(pkg, imported string) string {
	short, ours := shorten(imported)
	if !ours && !strings.Contains(strings.Split(imported, "/")[0], ".") {
		if imported == "testing" && !strings.HasSuffix(pkg, "test") {
			return fmt.Sprintf("%q imports testing: only …test packages may", pkg)
		}
		return ""
	}
	if ours && strings.HasSuffix(short, "test") {
		return fmt.Sprintf("%q imports %q: only tests may", pkg, short)
	}
	for _, rule := range allowed {
		if !matches(rule.pattern, pkg) {
			continue
		}
		ok := slices.ContainsFunc(rule.imports, func(p string) bool {
			return p == anyOfOurs && ours || matches(p, short)
		})
		if ok {
			return ""
		}
		return fmt.Sprintf("%q may not import %q", pkg, short)
	}
	return fmt.Sprintf("no rule says what %q may import", pkg)
}

// shorten cuts the module off a path of ours.
func shorten(imported string) (short string, ours bool) {
	if imported == Module {
		return "", true
	}
	return strings.CutPrefix(imported, Module+"/")
}

func matches(pattern, name string) bool {
	if ok, _ := path.Match(pattern, name); ok {
		return true
	}
	prefix, wild := strings.CutSuffix(pattern, "*")
	return wild && prefix != "" && strings.HasPrefix(name, prefix)
}

// linkable is all that a program which imports the root package may link.
var linkable = []string{
	Module, Module + "/store", Module + "/internal/",
	"go.etcd.io/bbolt", "github.com/google/btree", "github.com/oklog/ulid/v2", "golang.org/x/sys/",
}

// CheckLinked says why the root package may not link a package, or returns "".
func CheckLinked(imported string) string {
	if !strings.Contains(strings.Split(imported, "/")[0], ".") {
		return ""
	}
	for _, p := range linkable {
		if imported == strings.TrimSuffix(p, "/") || strings.HasPrefix(imported, strings.TrimSuffix(p, "/")+"/") {
			return ""
		}
	}
	return fmt.Sprintf("the root package links %q", imported)
}

// blocking are calls that may wait: none of them may be made while a lock
// called mu is held.
var blocking = []string{"Sleep", "View", "Begin", "Commit", "submit", "send", "Wait"}

// CheckLocks reports what may block while a mutex called mu is held: sends,
// receives, selects without default, and the calls in blocking. A function
// whose name ends in Locked holds the lock throughout. Function literals are
// left out: they run elsewhere, or are visitors that are looked at as the
// functions they call.
func CheckLocks(fset *token.FileSet, file *ast.File) (faults []string) {
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		c := lockChecker{fset: fset, held: strings.HasSuffix(fn.Name.Name, "Locked")}
		c.block(fn.Body.List)
		faults = append(faults, c.faults...)
	}
	return faults
}

type lockChecker struct {
	fset   *token.FileSet
	held   bool
	faults []string
}

// block follows statements in order, through nested blocks as the code is
// written.
func (c *lockChecker) block(list []ast.Stmt) {
	for _, s := range list {
		c.stmt(s)
	}
}

func (c *lockChecker) stmt(s ast.Stmt) {
	switch lockCall(s) {
	case "Lock":
		c.held = true
		return
	case "Unlock":
		c.held = false
		return
	}
	switch s := s.(type) {
	case *ast.DeferStmt, *ast.GoStmt:
		return // runs at the end, or elsewhere
	case *ast.BlockStmt:
		c.branch(s.List)
	case *ast.IfStmt:
		c.look(s.Init, s.Cond)
		c.branch(s.Body.List)
		if s.Else != nil {
			c.branch([]ast.Stmt{s.Else})
		}
	case *ast.ForStmt:
		c.look(s.Init, s.Cond, s.Post)
		c.branch(s.Body.List)
	case *ast.RangeStmt:
		c.look(s.X)
		c.branch(s.Body.List)
	case *ast.SwitchStmt:
		c.look(s.Init, s.Tag)
		c.clauses(s.Body)
	case *ast.SelectStmt:
		c.selectStmt(s)
	default:
		c.look(s)
	}
}

// branch looks at a nested block. Whether it returns or not, what follows it
// is taken to hold the lock as before: a block that unlocks and goes on is
// written so that both ways agree.
func (c *lockChecker) branch(list []ast.Stmt) {
	held := c.held
	c.block(list)
	if len(list) > 0 {
		switch list[len(list)-1].(type) {
		case *ast.ReturnStmt, *ast.BranchStmt:
			c.held = held
		}
	}
}

func (c *lockChecker) clauses(body *ast.BlockStmt) {
	for _, s := range body.List {
		if clause, ok := s.(*ast.CaseClause); ok {
			held := c.held
			c.block(clause.Body)
			c.held = held
		}
	}
}

func (c *lockChecker) selectStmt(s *ast.SelectStmt) {
	waits := true
	for _, clause := range s.Body.List {
		if clause.(*ast.CommClause).Comm == nil {
			waits = false
		}
	}
	if c.held && waits {
		c.fault(s.Pos(), "a select without default")
	}
	for _, clause := range s.Body.List {
		held := c.held
		c.block(clause.(*ast.CommClause).Body)
		c.held = held
	}
}

// look finds what blocks within expressions and plain statements.
func (c *lockChecker) look(nodes ...ast.Node) {
	if !c.held {
		return
	}
	for _, n := range nodes {
		if n == nil {
			continue
		}
		ast.Inspect(n, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.SendStmt:
				c.fault(n.Pos(), "a send")
			case *ast.UnaryExpr:
				if n.Op == token.ARROW {
					c.fault(n.Pos(), "a receive")
				}
			case *ast.CallExpr:
				if sel, ok := n.Fun.(*ast.SelectorExpr); ok && slices.Contains(blocking, sel.Sel.Name) {
					c.fault(n.Pos(), "a call of "+sel.Sel.Name)
				}
			}
			return true
		})
	}
}

func (c *lockChecker) fault(at token.Pos, what string) {
	c.faults = append(c.faults, fmt.Sprintf("%s: %s while a lock is held", c.fset.Position(at), what))
}

// lockCall returns "Lock" or "Unlock" for a statement like e.mu.Lock().
func lockCall(s ast.Stmt) string {
	expr, ok := s.(*ast.ExprStmt)
	if !ok {
		return ""
	}
	call, ok := expr.X.(*ast.CallExpr)
	if !ok {
		return ""
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || method.Sel.Name != "Lock" && method.Sel.Name != "Unlock" {
		return ""
	}
	switch on := method.X.(type) {
	case *ast.SelectorExpr:
		if on.Sel.Name == "mu" {
			return method.Sel.Name
		}
	case *ast.Ident:
		if on.Name == "mu" {
			return method.Sel.Name
		}
	}
	return ""
}
