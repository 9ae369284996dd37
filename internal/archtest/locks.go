package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// blockingCalls are methods that may wait for something: a clock, the disk, the
// committer, another goroutine, code of the program.
var blockingCalls = []string{
	"Sleep", "View", "Update", "Begin", "Commit", "Sync", "Wait", "submit", "send",
	"Debug", "Info", "Warn", "Error", // of a logger, which is the program's
}

// CheckLocks reports what may block while a mutex called mu is held, in the
// files of one package, and counts the places that take such a lock.
//
// May block: a send, a receive, a select without default, the methods in
// blockingCalls, and calls of the package's own unexported functions in which
// one of these is found. A function whose name ends in Locked holds its
// caller's lock. A lock counts as held wherever one way through the function
// leads there with it; a function literal as run where it stands, unless it is
// returned, or go or AfterFunc starts it. Types are not looked at: a range over
// a channel goes unseen.
func CheckLocks(fset *token.FileSet, files []*ast.File) (faults []string, locks int) {
	may := waiting(files)
	for _, file := range files {
		for _, decl := range file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			c := &checker{fset: fset, may: may, faults: map[string]bool{}}
			in := unlocked
			if strings.HasSuffix(fn.Name.Name, "Locked") {
				in = in.with(callers)
			}
			c.list(fn.Body.List, in)
			faults = append(faults, slices.Sorted(maps.Keys(c.faults))...)
			locks += countLocks(fn.Body)
		}
	}
	return faults, locks
}

// waiting finds the unexported functions of a package that may block, by name,
// also through others of its functions.
func waiting(files []*ast.File) map[string]bool {
	may := map[string]bool{}
	for grown := true; grown; {
		grown = false
		for _, file := range files {
			for _, decl := range file.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Body == nil || fn.Name.IsExported() || may[own(fn.Name.Name, fn.Recv != nil)] {
					continue
				}
				c := &checker{fset: token.NewFileSet(), may: may, faults: map[string]bool{}, ownOnly: true}
				c.list(fn.Body.List, unlocked.with(callers))
				if len(c.faults) > 0 {
					may[own(fn.Name.Name, fn.Recv != nil)] = true
					grown = true
				}
			}
		}
	}
	return may
}

// own tells functions from methods: a method called append is not the builtin.
func own(name string, isMethod bool) string {
	if isMethod {
		return "." + name
	}
	return name
}

// callers names the lock that a function got from its caller.
const callers = "the caller's lock"

// flow is what holds at one place of a function.
type flow struct {
	live bool            // control gets here
	held map[string]bool // locks that may be held, never written to once it is set
}

var unlocked = flow{live: true, held: map[string]bool{}}

// join is what holds where two ways meet.
func join(a, b flow) flow {
	switch {
	case !a.live:
		return b
	case !b.live:
		return a
	}
	held := maps.Clone(a.held)
	maps.Copy(held, b.held)
	return flow{live: true, held: held}
}

func (f flow) with(lock string) flow {
	held := maps.Clone(f.held)
	held[lock] = true
	return flow{live: f.live, held: held}
}

// without lets go of a lock; in a function that came with its caller's, that is
// the one.
func (f flow) without(lock string) flow {
	held := maps.Clone(f.held)
	delete(held, lock)
	delete(held, callers)
	return flow{live: f.live, held: held}
}

// checker walks one function.
type checker struct {
	fset    *token.FileSet
	may     map[string]bool // functions of the package that may block, see own
	faults  map[string]bool
	ownOnly bool    // only what is done under the caller's lock counts
	around  []*jump // loops, switches and selects around this place
}

// jump collects where break and continue of one statement leave from.
type jump struct {
	loop              bool
	breaks, continues flow
}

func (c *checker) list(list []ast.Stmt, f flow) flow {
	for _, s := range list {
		f = c.stmt(s, f)
	}
	return f
}

func (c *checker) stmt(s ast.Stmt, f flow) flow {
	switch s := s.(type) {
	case nil:
		return f
	case *ast.ExprStmt:
		if lock, method := lockCall(s.X); method != "" {
			if strings.HasSuffix(method, "Unlock") {
				return f.without(lock)
			}
			return f.with(lock)
		}
		return c.look(f, s)
	case *ast.DeferStmt:
		if _, method := lockCall(s.Call); method != "" {
			return f // held to the end
		}
		return c.look(f, s.Call)
	case *ast.GoStmt:
		c.elsewhere(s.Call)
		return f
	case *ast.ReturnStmt:
		for _, e := range s.Results {
			if lit, ok := e.(*ast.FuncLit); ok {
				c.literal(lit, unlocked) // the caller runs it
			} else {
				c.look(f, e)
			}
		}
		return flow{}
	case *ast.BranchStmt:
		return c.leave(s, f)
	case *ast.LabeledStmt:
		return c.stmt(s.Stmt, f)
	case *ast.BlockStmt:
		return c.list(s.List, f)
	case *ast.IfStmt:
		f = c.look(c.stmt(s.Init, f), s.Cond)
		return join(c.list(s.Body.List, f), c.stmt(s.Else, f))
	case *ast.ForStmt:
		f = c.stmt(s.Init, f)
		return c.loop(f, s.Cond != nil, func(f flow) flow {
			return c.list(s.Body.List, c.look(f, s.Cond))
		}, s.Post)
	case *ast.RangeStmt:
		return c.loop(c.look(f, s.X), true, func(f flow) flow { return c.list(s.Body.List, f) }, nil)
	case *ast.SwitchStmt:
		return c.clauses(s.Body, c.look(c.stmt(s.Init, f), s.Tag))
	case *ast.TypeSwitchStmt:
		return c.clauses(s.Body, c.stmt(s.Assign, c.stmt(s.Init, f)))
	case *ast.SelectStmt:
		return c.selects(s, f)
	default:
		return c.look(f, s)
	}
}

// leave is break, continue, goto and fallthrough. One with a label counts for
// every statement around it.
func (c *checker) leave(s *ast.BranchStmt, f flow) flow {
	if s.Tok == token.FALLTHROUGH {
		return f
	}
	for _, j := range slices.Backward(c.around) {
		if s.Tok == token.CONTINUE && !j.loop {
			continue
		}
		if s.Tok == token.CONTINUE {
			j.continues = join(j.continues, f)
		} else {
			j.breaks = join(j.breaks, f)
		}
		if s.Label == nil {
			break
		}
	}
	return flow{}
}

// loop runs a body twice: what the first round leaves held, the second enters
// with. mayEnd is false for a loop that only a break ends.
func (c *checker) loop(f flow, mayEnd bool, body func(flow) flow, post ast.Stmt) flow {
	j := &jump{loop: true}
	c.around = append(c.around, j)
	for range 2 {
		f = join(f, c.stmt(post, join(body(f), j.continues)))
	}
	c.around = c.around[:len(c.around)-1]
	if !mayEnd {
		return j.breaks
	}
	return join(f, j.breaks)
}

func (c *checker) clauses(body *ast.BlockStmt, f flow) flow {
	j := &jump{}
	c.around = append(c.around, j)
	out, through, all := flow{}, flow{}, false
	for _, s := range body.List {
		clause := s.(*ast.CaseClause)
		all = all || clause.List == nil
		for _, e := range clause.List {
			c.look(f, e)
		}
		end := c.list(clause.Body, join(f, through))
		through = flow{}
		if n := len(clause.Body); n > 0 {
			if b, ok := clause.Body[n-1].(*ast.BranchStmt); ok && b.Tok == token.FALLTHROUGH {
				through = end
				continue
			}
		}
		out = join(out, end)
	}
	c.around = c.around[:len(c.around)-1]
	if !all {
		out = join(out, f)
	}
	return join(out, j.breaks)
}

func (c *checker) selects(s *ast.SelectStmt, f flow) flow {
	j := &jump{}
	c.around = append(c.around, j)
	out, waits := flow{}, true
	for _, clause := range s.Body.List {
		clause := clause.(*ast.CommClause)
		waits = waits && clause.Comm != nil
		out = join(out, c.list(clause.Body, f))
	}
	if waits {
		c.fault(f, s.Pos(), "a select without default")
	}
	c.around = c.around[:len(c.around)-1]
	return join(out, j.breaks)
}

// look finds what blocks within expressions and plain statements.
func (c *checker) look(f flow, n ast.Node) flow {
	if n == nil {
		return f
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			c.literal(n, f)
			return false
		case *ast.SendStmt:
			c.fault(f, n.Pos(), "a send")
		case *ast.UnaryExpr:
			if n.Op == token.ARROW {
				c.fault(f, n.Pos(), "a receive")
			}
		case *ast.CallExpr:
			if lock, method := lockCall(n); strings.HasPrefix(method, "Try") {
				f = f.with(lock)
				return false
			}
			name, isMethod := called(n)
			if name == "AfterFunc" {
				c.elsewhere(n)
				return false
			}
			if isMethod && slices.Contains(blockingCalls, name) || c.may[own(name, isMethod)] {
				c.fault(f, n.Pos(), "a call of "+name)
			}
		}
		return true
	})
	return f
}

// literal looks at a function literal, whose breaks and returns are its own.
func (c *checker) literal(lit *ast.FuncLit, f flow) {
	around := c.around
	c.around = nil
	c.list(lit.Body.List, flow{live: true, held: f.held})
	c.around = around
}

// elsewhere looks at a call that another goroutine makes: no lock is held
// there.
func (c *checker) elsewhere(call *ast.CallExpr) {
	for _, n := range append([]ast.Expr{call.Fun}, call.Args...) {
		if lit, ok := n.(*ast.FuncLit); ok {
			c.literal(lit, unlocked)
		}
	}
}

func (c *checker) fault(f flow, at token.Pos, what string) {
	if !f.live || len(f.held) == 0 || c.ownOnly && !f.held[callers] {
		return
	}
	held := strings.Join(slices.Sorted(maps.Keys(f.held)), ", ")
	c.faults[fmt.Sprintf("%s: %s while %s may be held", c.fset.Position(at), what, held)] = true
}

// called is the name of what a call calls.
func called(call *ast.CallExpr) (name string, isMethod bool) {
	switch fun := call.Fun.(type) {
	case *ast.SelectorExpr:
		return fun.Sel.Name, true
	case *ast.Ident:
		return fun.Name, false
	}
	return "", false
}

// lockCall recognizes a call like e.mu.Lock() and returns the lock and the
// method.
func lockCall(e ast.Expr) (lock, method string) {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return "", ""
	}
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Lock", "RLock", "TryLock", "TryRLock", "Unlock", "RUnlock"}, fun.Sel.Name) {
		return "", ""
	}
	lock = types.ExprString(fun.X)
	if lock != "mu" && !strings.HasSuffix(lock, ".mu") {
		return "", ""
	}
	return lock, fun.Sel.Name
}

func countLocks(body ast.Node) (n int) {
	ast.Inspect(body, func(node ast.Node) bool {
		if e, ok := node.(ast.Expr); ok {
			if _, method := lockCall(e); method != "" && !strings.HasSuffix(method, "Unlock") {
				n++
			}
		}
		return true
	})
	return n
}
