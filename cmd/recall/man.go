package main

import (
	"bytes"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

func manCommand() *cobra.Command {
	dir := ""
	cmd := &cobra.Command{
		Use:   "man [COMMAND]...",
		Short: "Write man pages",
		Long: `Write the man page of a command, or of recall, to standard output, or those of all
commands to a folder.`,
		Example: "  recall man cancel | man -l -\n  recall man --dir /usr/local/share/man/man1",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			root.DisableAutoGenTag = true // pages of the same program are the same
			header := &doc.GenManHeader{Section: "1", Source: "recall " + version(), Manual: "Recall"}
			if dir != "" {
				if len(args) > 0 {
					return usagef("--dir has the pages of all commands")
				}
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
				return doc.GenManTree(root, header, dir)
			}
			of, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 || of.Hidden {
				return usagef("unknown command %q; see recall help", args)
			}
			var page bytes.Buffer
			if err := doc.GenMan(of, header, &page); err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(page.Bytes())
			return err
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder for the pages of all commands")
	_ = cmd.MarkFlagDirname("dir") // for completion only
	return cmd
}
