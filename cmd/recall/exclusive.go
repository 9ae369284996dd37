package main

import "github.com/spf13/cobra"

// exclusive refuses two flags together. The parser could do so, but not as a fault
// of the command line.
func exclusive(cmd *cobra.Command, a, b string) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed(a) && cmd.Flags().Changed(b) {
			return usagef("--%s and --%s exclude each other; see %s --help", a, b, cmd.CommandPath())
		}
		if before == nil {
			return nil
		}
		return before(cmd, args)
	}
}
