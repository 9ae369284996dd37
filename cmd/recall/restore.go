package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/admin"
)

func restoreCommand() *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use:   "restore OPERATION",
		Short: "Undo a cancellation, whole",
		Long: `Bring back every message that a cancellation took, in one durable commit. "recall
cancellations" lists them. It is possible for a while, 10 minutes unless the
program says otherwise, and afterwards exit status 9.`,
		Example: "  recall restore op_01J8Z0M3Q4R5S6T7V8W9X0Y1Z2",
		Args:    exactly(1, "the operation to undo"),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			r, err := s.Restore(ctx, recall.OperationID(args[0]))
			if err != nil {
				return err
			}
			if s.json {
				return printJSON(s.out, admin.RestoreResult(r))
			}
			s.say("%s restored.", countText(r.Restored, "message", "messages"))
			if r.Lifted > 0 {
				s.say("%s in flight may be tried again.", countText(r.Lifted, "message", "messages"))
			}
			return nil
		}),
	}
	t.addFlags(cmd)
	return cmd
}

// exactly refuses another number of arguments.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s takes %s; see %s --help", cmd.CommandPath(), what, cmd.CommandPath())
		}
		return nil
	}
}
