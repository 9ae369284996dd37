package main

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are all that a user can call, by their path.
func commands(root *cobra.Command) map[string]*cobra.Command {
	all := map[string]*cobra.Command{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			if !sub.Hidden {
				all[sub.CommandPath()] = sub
				walk(sub)
			}
		}
	}
	walk(root)
	return all
}

// flagsOf are the names of a command's own flags.
func flagsOf(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	return names
}

// sections splits a document at its headings.
func sections(t *testing.T, file string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parts, name := map[string]string{}, ""
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			name = strings.TrimSpace(heading)
		} else if heading, ok := strings.CutPrefix(line, "### "); ok {
			name = strings.Trim(strings.TrimSpace(heading), "`")
		}
		parts[name] += line
	}
	return parts
}

var flagInText = regexp.MustCompile("[`\\s(]--([a-z][a-z-]*)")

func flagsIn(text string) (names []string) {
	for _, m := range flagInText.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestDocumented compares docs/cli.md with the parser: the commands, the flags of
// each, and those that many share.
func TestDocumented(t *testing.T) {
	parts := sections(t, "../../docs/cli.md")
	target, filter := flagsIn(parts["What they work on"]), flagsIn(parts["Filters"])
	if want := []string{"db", "json", "token", "url"}; !slices.Equal(target, want) {
		t.Errorf("target: the document has %q, want %q", target, want)
	}
	want := []string{"filter"}
	for flag := range filterFields {
		want = append(want, flag)
	}
	if slices.Sort(want); !slices.Equal(filter, want) {
		t.Errorf("filter: the document has %q, want %q", filter, want)
	}
	server, err := os.ReadFile("../../docs/server.md")
	if err != nil {
		t.Fatal(err)
	}
	all := commands(newRoot())
	for path, cmd := range all {
		part, documented := parts[path]
		if path == "recall completion" || strings.HasPrefix(path, "recall completion ") || path == "recall help" {
			continue
		}
		if !documented || !strings.Contains(part, "```sh\n") || !strings.Contains(part, path) {
			t.Errorf("%s is not documented with an example", path)
			continue
		}
		checkFlags(t, path, cmd, part, string(server), target, filter)
	}
	for name := range parts {
		if strings.HasPrefix(name, "recall ") && all[name] == nil {
			t.Errorf("%s is documented, and there is no such command", name)
		}
	}
}

func checkFlags(t *testing.T, path string, cmd *cobra.Command, part, server string, target, filter []string) {
	t.Helper()
	have := flagsOf(cmd)
	isServer := path == "recall dev" || path == "recall serve"
	hasTarget := slices.Contains(have, "url")
	hasFilter := slices.Contains(have, "filter")
	if hasFilter != strings.Contains(part, "(#filters)") {
		t.Errorf("%s: it takes a filter: %v, and the document says otherwise", path, hasFilter)
	}
	documented := flagsIn(part)
	if isServer {
		documented = flagsIn(server)
	}
	for _, flag := range have {
		shared := hasTarget && slices.Contains(target, flag) || hasFilter && slices.Contains(filter, flag)
		if !shared && !slices.Contains(documented, flag) {
			t.Errorf("%s: --%s is not documented", path, flag)
		}
	}
	if isServer {
		return
	}
	for _, flag := range documented {
		if !slices.Contains(have, flag) {
			t.Errorf("%s: --%s is documented, and there is no such flag", path, flag)
		}
	}
}

// TestFlagsHaveHelp: every command and every flag says what it is for.
func TestFlagsHaveHelp(t *testing.T) {
	for path, cmd := range commands(newRoot()) {
		if strings.HasPrefix(path, "recall completion") || path == "recall help" {
			continue
		}
		if cmd.Short == "" || path != "recall version" && (cmd.Long == "" || path != "recall demo" && path != "recall serve" && cmd.Example == "" && path != "recall dev") {
			t.Errorf("%s has no help", path)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s has no help", path, f.Name)
			}
		})
	}
}

// TestExitStatusesDocumented compares the table of exit statuses with those that
// there are.
func TestExitStatusesDocumented(t *testing.T) {
	table := sections(t, "../../docs/cli.md")["Exit statuses"]
	row := regexp.MustCompile(`(?m)^\| (\d+) \|`)
	var listed []string
	for _, m := range row.FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	if got, want := strings.Join(listed, " "), "0 1 2 3 4 5 6 7 8 9 10"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, s := range statusOf {
		if s.status < exitNotFound || s.status > exitToken {
			t.Errorf("%v has status %d", s.err, s.status)
		}
	}
}
