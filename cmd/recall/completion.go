package main

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// completing offers values of a flag to the shell.
func completing(cmd *cobra.Command, flag string, values ...string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(slices.Clone(values), cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

var stateNames = []string{
	string(recall.StateDelayed), string(recall.StateReady), string(recall.StateRetrying), string(recall.StateHeld),
	string(recall.StateQueueBlocked), string(recall.StateFlowWaiting), string(recall.StateInFlight),
}
