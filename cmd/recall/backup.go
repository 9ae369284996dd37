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

func backupCommand() *cobra.Command {
	t := &target{}
	noCheck, yes := false, false
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Copy a queue to a file, while it is in use",
		Long: `Write a copy of the queue to a file, as it is at one moment, while publishing and
deliveries go on. The copy is checked, and is there under its name only when it is
whole. It holds everything, signing keys and what is redacted elsewhere included. A
file that it replaces hands on its permissions and owner; a link to one is followed.

With - it goes to standard output, unchecked: see recall check.`,
		Example: "  recall backup queue-$(date +%F).db\n  recall backup --db queue.db - | gzip > queue.db.gz",
		Args:    exactly(1, "the file to write"),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			if args[0] == "-" {
				return s.copyTo(ctx, s.out)
			}
			if err := s.mayReplace(args[0], yes); err != nil {
				return err
			}
			report, err := s.backUp(ctx, args[0], !noCheck)
			switch {
			case err != nil:
				return err
			case s.json:
				return showReport(&s.console, true, report)
			case noCheck:
				s.say("%s is written, and was not checked.", args[0])
			default:
				s.say("%s is written and checked: %s.", args[0], countText(report.Live(), "message", "messages"))
			}
			return nil
		}),
	}
	t.addFlags(cmd)
	cmd.Flags().BoolVar(&noCheck, "no-check", false, "do not check the copy")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "replace a file without asking")
	exclusive(cmd, "no-check", "json")
	return cmd
}

// mayReplace asks before a file is replaced.
func (c *console) mayReplace(file string, yes bool) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return usagef("%s is not a file", file)
	case yes:
		return nil
	}
	return c.confirm(fmt.Sprintf("Replace %s, of %s?", file, bytesText(info.Size())))
}

// copyTo writes the copy with a bar. It is about as long as the file is now.
func (s *session) copyTo(ctx context.Context, out io.Writer) error {
	st, err := s.Stats(ctx)
	if err != nil {
		return err
	}
	show := startBar(&s.console, "copying", st.FileBytes, true)
	defer show.stop()
	_, err = s.Backup(ctx, &meter{out: out, moved: show.set})
	return err
}

// backUp makes the copy beside its place, checks it, and moves it there.
func (s *session) backUp(ctx context.Context, file string, check bool) (report recall.CheckReport, err error) {
	err = s.replace(file, func(out *os.File) error { return s.copyTo(ctx, out) }, func(part string) error {
		if !check {
			return nil
		}
		if report, err = s.check(ctx, part); err != nil {
			return err
		}
		return damage(&report)
	}, os.Rename)
	return report, err
}

// meter tells how much has been written.
type meter struct {
	out   io.Writer
	n     int64
	moved func(int64)
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.out.Write(p)
	m.n += int64(n)
	m.moved(m.n)
	return n, err
}
