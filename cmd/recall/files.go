package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// offline is a command about files that no process may hold.
type offline struct {
	console
	json bool
}

// command fills in what they have in common.
func (o *offline) command(cmd *cobra.Command, do func(ctx context.Context, args []string) error) *cobra.Command {
	cmd.Flags().BoolVar(&o.json, "json", false, "write JSON: an object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		o.console = consoleOf(cmd)
		err := onlyFiles(cmd, args)
		if err == nil {
			err = do(cmd.Context(), args)
		}
		if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
			err = errInterrupted
		}
		return told(err)
	}
	return cmd
}

// onlyFiles refuses the address of a database, without a word of it.
func onlyFiles(cmd *cobra.Command, args []string) error {
	for _, arg := range args {
		if isEngine(arg) {
			return fmt.Errorf("%w: %s is for files; a database has programs of its own for that", recall.ErrUnsupported, cmd.CommandPath())
		}
	}
	return nil
}

func checkCommand() *cobra.Command {
	o := &offline{}
	return o.command(&cobra.Command{
		Use:   "check FILE",
		Short: "Look for damage in a file",
		Long: `Look for damage in a file that no process holds: pages, checksums, what belongs
together, and what an open would build of it. It changes nothing. Where something
is found the exit status is 8: see recall salvage.`,
		Example: "  recall check queue.db",
		Args:    exactly(1, "a file"),
	}, func(ctx context.Context, args []string) error {
		report, err := o.check(ctx, args[0])
		if err != nil {
			return err
		}
		if err := showReport(&o.console, o.json, report); err != nil {
			return err
		}
		return damage(&report)
	})
}

// damage is an error about what was found.
func damage(r *recall.CheckReport) error {
	if r.OK() {
		return nil
	}
	return fmt.Errorf("%w: %s", errFindings, countText(len(r.Findings)+r.Omitted, "finding", "findings"))
}

// check is recall.Check with a bar.
func (c *console) check(ctx context.Context, file string) (recall.CheckReport, error) {
	show := startBar(c, "checking", 0, true)
	defer show.stop()
	return recall.Check(ctx, file, show.progress)
}

func compactCommand() *cobra.Command {
	o := &offline{}
	return o.command(&cobra.Command{
		Use:   "compact FILE",
		Short: "Make a file as small as it can be",
		Long: `Make a file that no process holds as small as it can be, by a copy that takes its
place when it is whole. It needs room for both. Nothing of what is in the file is
lost.`,
		Example: "  recall compact queue.db",
		Args:    exactly(1, "a file"),
	}, func(ctx context.Context, args []string) error {
		show := startBar(&o.console, "compacting", 0, true)
		report, err := recall.Compact(ctx, args[0], show.progress)
		if show.stop(); err != nil {
			return err
		}
		return showReport(&o.console, o.json, report)
	})
}

func salvageCommand() *cobra.Command {
	o := &offline{}
	return o.command(&cobra.Command{
		Use:   "salvage FROM TO",
		Short: "Copy what can be read of a damaged file to a new one",
		Long: `Copy what can be read of a damaged file, which no process may hold, to a new file, and
say what is lost. The damaged file is left as it is, and the new one may not be
there yet. Where anything is lost the exit status is 8.`,
		Example: "  recall salvage queue.db saved.db",
		Args:    exactly(2, "a damaged file and a new one"),
	}, func(ctx context.Context, args []string) error {
		show := startBar(&o.console, "salvaging", 0, true)
		report, err := recall.Salvage(ctx, args[0], args[1], show.progress)
		if show.stop(); err != nil {
			return err
		}
		if err := showReport(&o.console, o.json, report); err != nil {
			return err
		}
		if !report.Complete() {
			return fmt.Errorf("%w; what could be read of it is in %s", errFindings, args[1])
		}
		return nil
	})
}
