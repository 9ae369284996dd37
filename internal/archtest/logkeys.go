package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// logCalls are the methods of a logger, and which of their arguments is the first
// key.
var logCalls = map[string]int{
	"Debug": 1, "Info": 1, "Warn": 1, "Error": 1, "With": 0,
	"DebugContext": 2, "InfoContext": 2, "WarnContext": 2, "ErrorContext": 2, "Log": 3, "LogAttrs": 3,
}

// LogKeys adds the keys of all lines that a file logs to keys, and returns what is
// wrong with them: a key has to be written where it is logged, so that it can be found.
// A logger is what is named log or Logger.
func LogKeys(fset *token.FileSet, file *ast.File, keys map[string]bool) (faults []string) {
	fault := func(n ast.Node, format string, args ...any) {
		faults = append(faults, fset.Position(n.Pos()).String()+": "+fmt.Sprintf(format, args...))
	}
	note := func(arg ast.Expr) {
		if key, ok := literal(arg); ok {
			keys[key] = true
		} else {
			fault(arg, "the key of a line that is logged is no literal")
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if isPackage(method.X, "slog") {
			if isAttr(method.Sel.Name) && len(call.Args) > 0 {
				note(call.Args[0])
			}
			return true
		}
		first, ok := logCalls[method.Sel.Name]
		if !ok || !isLogger(method.X) || len(call.Args) < first {
			return true
		}
		args := call.Args[first:]
		switch {
		case method.Sel.Name == "LogAttrs": // made by functions of slog
		case call.Ellipsis.IsValid():
			fault(call, "%s is given a list: use LogAttrs and functions of slog", method.Sel.Name)
		default:
			for len(args) > 0 {
				if c, ok := args[0].(*ast.CallExpr); ok { // an attribute
					if s, ok := c.Fun.(*ast.SelectorExpr); ok && isPackage(s.X, "slog") {
						args = args[1:]
						continue
					}
				}
				note(args[0])
				args = args[min(2, len(args)):]
			}
		}
		return true
	})
	return faults
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

func isPackage(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// isAttr tells the functions of slog that make an attribute.
func isAttr(name string) bool {
	return slices.Contains([]string{
		"String", "Int", "Int64", "Uint64", "Float64", "Bool", "Time", "Duration", "Any", "Group",
	}, name)
}

func isLogger(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "log" || e.Name == "logger"
	case *ast.SelectorExpr:
		return e.Sel.Name == "log" || e.Sel.Name == "Logger"
	}
	return false
}

// DocumentedKeys are those of the table of keys in a text of documentation: the
// first cells of rows below the heading for logs.
func DocumentedKeys(text string) map[string]bool {
	keys := map[string]bool{}
	_, logs, _ := strings.Cut(text, "\n## Logs\n")
	for line := range strings.Lines(logs) {
		if cell, ok := strings.CutPrefix(line, "| `"); ok {
			key, _, _ := strings.Cut(cell, "`")
			keys[key] = true
		}
	}
	return keys
}
