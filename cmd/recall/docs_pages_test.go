package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")
	// spanned is code within a sentence or a table.
	spanned = regexp.MustCompile("`(recall [^`\n]+)`")
	// substituted is what a shell puts in.
	substituted = regexp.MustCompile(`\$\([^)]*\)`)
)

// TestPagesNameWhatThereIs takes every call of the command line from the
// documentation, and parses it: the command and its flags exist, values are of
// the right kind, and there are as many arguments as the command takes.
func TestPagesNameWhatThereIs(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	found := 0
	for _, page := range append(pages, "../../README.md", "../../CONTRIBUTING.md", "../../SECURITY.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shellBlock.FindAllStringSubmatch(string(text), -1) {
			for line := range strings.Lines(strings.ReplaceAll(m[1], "\\\n", " ")) {
				if call, ok := callIn(line); ok {
					found++
					if err := parses(call, true); err != nil {
						t.Errorf("%s: %s: %v", filepath.Base(page), strings.TrimSpace(line), err)
					}
				}
			}
		}
		prose := strings.Join(shellBlock.Split(string(text), -1), "")
		for _, m := range spanned.FindAllStringSubmatch(prose, -1) {
			found++
			if err := parses(words(m[1])[1:], false); err != nil {
				t.Errorf("%s: %s: %v", filepath.Base(page), m[1], err)
			}
		}
	}
	if found < 100 {
		t.Errorf("found only %d calls", found)
	}
}

// callIn returns what follows "recall" on a line of a shell, up to the end of that
// command.
func callIn(line string) (args []string, ok bool) {
	for _, word := range words(substituted.ReplaceAllString(line, "X")) {
		switch {
		case word == "recall" && !ok:
			ok = true
		case !ok && word != "time" && !strings.Contains(word, "="):
			return nil, false // another program
		case ok && strings.ContainsAny(word[:1], "|>&#"):
			return args, true
		case ok:
			args = append(args, word)
		}
	}
	return args, ok
}

// parses looks for a command and has it parse its flags. An example in a sentence
// may leave the arguments out.
func parses(args []string, whole bool) error {
	root := newRoot()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	if len(args) > 0 && args[0] == "…" { // any command
		args = append([]string{"ls"}, args[1:]...)
	}
	args = bare(args)
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd == root && len(args) > 0 {
		return fmt.Errorf("there is no command %q", args[0])
	}
	if cmd.Name() == "dev" { // it knows flags with one dash, too
		rest = singleDashes(rest)
	}
	switch err := cmd.ParseFlags(rest); {
	case err != nil && (whole || !strings.Contains(err.Error(), "flag needs an argument")):
		return err
	case cmd.HasSubCommands() && cmd.Flags().NArg() > 0:
		return fmt.Errorf("there is no command %q below it", cmd.Flags().Arg(0))
	case !whole:
		return nil
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// singleDashes makes two of one, as in -port.
func singleDashes(args []string) (out []string) {
	for _, a := range args {
		if len(a) > 2 && a[0] == '-' && a[1] != '-' {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}

// bare puts a number for N.
func bare(args []string) (out []string) {
	for _, a := range args {
		if a == "N" {
			a = "1"
		}
		out = append(out, a)
	}
	return out
}

// words splits a line as a shell does, so far as the documentation needs it.
func words(line string) (list []string) {
	var word strings.Builder
	quote, inWord := rune(0), false
	for _, r := range line + "\n" {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\n' || r == '\t':
			if inWord {
				list = append(list, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	return list
}
