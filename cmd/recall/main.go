// Recall runs the message queue of github.com/recallmq/recall as a server that
// speaks QStash's v2 REST API.
//
// The other commands look at what is in a running server, or in a file that nobody
// holds, and change it: see docs/cli.md, also for the exit statuses.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	_ "time/tzdata" // schedules name zones, and not every machine has them

	"github.com/spf13/cobra"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go obeySignals(stop)
	root := newRoot()
	root.SetArgs(singleDash(os.Args[1:]))
	err := root.ExecuteContext(ctx)
	if err != nil {
		// The errors of the library begin with the same word.
		fmt.Fprintln(os.Stderr, "recall:", shown(strings.TrimPrefix(err.Error(), "recall: ")))
	}
	return exitStatus(err)
}

// obeySignals asks the program to stop at the first signal and ends it at the
// second. It does not leave that to the system, where a program that a script
// has started in the background may ignore Ctrl-C.
func obeySignals(stop func()) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	stop()
	<-signals
	os.Exit(1)
}

// vendorFlags are those of QStash's own dev server, as its users write them.
var vendorFlags = []string{"-port", "-log-port", "-quota"}

// singleDash lets "recall dev -port 8080" through, as QStash's own dev server
// is started: the parser would take it for four flags of one letter.
func singleDash(args []string) []string {
	if len(args) == 0 || args[0] != "dev" {
		return args
	}
	fixed := append([]string(nil), args...)
	for i, arg := range fixed {
		if arg == "--" {
			break
		}
		name, _, _ := strings.Cut(arg, "=")
		if slices.Contains(vendorFlags, name) {
			fixed[i] = "-" + arg
		}
	}
	return fixed
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "recall",
		Short: "A durable message queue that lets you take messages back",
		Long: `Recall is a durable message queue that lets you take messages back.

"recall dev" and "recall serve" run it. The other commands work on a server that
runs – --url and --token, or QSTASH_URL and QSTASH_TOKEN in the environment – or
with --db on a file that no process holds. Nothing is delivered from such a file.

Exit status: 0 when all went well, also after a signal that asked a server to
stop; 1 when something failed or was interrupted, or a second signal came; 2
when the command line was wrong; 3 when what was named is not there; 4 when a
message in flight ended a call; 5 when another number of messages matched than
expected; 6 when it was not confirmed; 7 when another process holds the file; 8
when the file is damaged; 9 when it can no longer be undone; 10 when the token
does not allow it.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q; see recall help", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w; see %s --help", err, cmd.CommandPath())
	})
	addCommands(root)
	return root
}

// groups of commands, in the order of the help.
const (
	runGroup    = "run"
	lookGroup   = "look"
	changeGroup = "change"
	setGroup    = "set"
	fileGroup   = "file"
)

func addCommands(root *cobra.Command) {
	root.AddGroup(
		&cobra.Group{ID: runGroup, Title: "Run a server:"},
		&cobra.Group{ID: lookGroup, Title: "Look:"},
		&cobra.Group{ID: changeGroup, Title: "Publish, take back, change:"},
		&cobra.Group{ID: setGroup, Title: "What stands beside messages:"},
		&cobra.Group{ID: fileGroup, Title: "Files:"},
	)
	add := func(group string, list ...*cobra.Command) {
		for _, cmd := range list {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add(runGroup, devCommand(), serveCommand(), demoCommand())
	add(lookGroup, lsCommand(), getCommand(), countCommand(), explainCommand(), eventsCommand(), statsCommand(), topCommand())
	add(changeGroup, publishCommand(), cancelCommand(), restoreCommand(), cancellationsCommand(),
		holdCommand(), releaseCommand(), rescheduleCommand(), retryNowCommand(), dlqCommand())
	add(setGroup, queuesCommand(), topicsCommand(), schedulesCommand(), flowCommand())
	add(fileGroup, backupCommand(), restoreBackupCommand(), checkCommand(), compactCommand(), salvageCommand(),
		exportCommand(), importCommand(), benchCommand())
	root.AddCommand(demoChildCommand(), manCommand(), versionCommand())
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, only flags", cmd.CommandPath())
	}
	return nil
}

// shown is an error for a terminal: its text may be that of a server.
func shown(text string) string {
	text, _ = plainText([]byte(strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")))
	return text
}
