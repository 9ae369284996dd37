package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

func restoreBackupCommand() *cobra.Command {
	o := &offline{}
	yes := false
	cmd := o.command(&cobra.Command{
		Use:   "restore-backup BACKUP FILE",
		Short: "Put a checked backup in the place of a file",
		Long: `Copy a backup beside a file, check the copy, and let it take the place of the file,
in one step. Neither may be held by a process. Without --yes it asks before it
replaces a file; what was in that is gone, but for its permissions and owner, and a
link to it is followed. What had been published or delivered since the backup is as it
was then: what was delivered since is delivered again.`,
		Example: "  recall restore-backup queue-2026-01-31.db /var/lib/recall/queue.db",
		Args:    exactly(2, "a backup and the file to replace"),
	}, func(ctx context.Context, args []string) error { return o.restoreBackup(ctx, args[0], args[1], yes) })
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "replace a file without asking")
	return cmd
}

func (o *offline) restoreBackup(ctx context.Context, backup, file string, yes bool) error {
	in, err := os.Open(backup)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := lockShared(in); err != nil {
		return fmt.Errorf("%s: %w", backup, err)
	}
	from, err := in.Stat()
	if err != nil {
		return err
	}
	if to, err := os.Stat(file); err == nil && os.SameFile(from, to) {
		return usagef("%s and %s are one file", backup, file)
	}
	if err := whileFree(ctx, file, func() error { return nil }); err != nil {
		return err
	}
	if err := o.mayReplace(file, yes); err != nil {
		return err
	}
	var report recall.CheckReport
	err = o.replace(file, func(out *os.File) error {
		show := startBar(&o.console, "copying", from.Size(), true)
		defer show.stop()
		_, err := io.Copy(&meter{out: out, moved: show.set}, reader{ctx, in})
		return err
	}, func(part string) (err error) {
		if report, err = o.check(ctx, part); err != nil {
			return fmt.Errorf("the backup cannot be used: %w", err)
		}
		if err := damage(&report); err != nil {
			return fmt.Errorf("the backup cannot be used: %w", err)
		}
		return nil
	}, func(part, file string) error {
		return whileFree(ctx, file, func() error { return os.Rename(part, file) })
	})
	if err != nil {
		return err
	}
	if o.json {
		return showReport(&o.console, true, report)
	}
	o.say("%s is in place: %s.", file, countText(report.Live(), "message", "messages"))
	return nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	in  io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.in.Read(p)
}

// whileFree calls do while no other process can open the file: a check of it holds its
// lock, and is given up at its first step. A file that is not there, or is so damaged
// that nobody could open it, needs no lock. Another's file is left alone.
func whileFree(ctx context.Context, file string, do func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	called, failed := false, error(nil)
	_, err := recall.Check(ctx, file, func(int64, int64) {
		if !called {
			called, failed = true, do()
			cancel()
		}
	})
	switch {
	case called:
		return failed
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, recall.ErrCorrupt):
		return do()
	}
	return err
}
