package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// console is where a command reads and writes. Results go to out; questions and
// what helps to answer them go to notes.
type console struct {
	in         io.Reader
	out, notes io.Writer
	canAsk     bool // somebody sits before it
	width      int  // of the terminal that out is; 0: it is none
}

func consoleOf(cmd *cobra.Command) console {
	c := console{in: cmd.InOrStdin(), out: cmd.OutOrStdout(), notes: cmd.ErrOrStderr()}
	c.canAsk = isTerminal(c.in) && isTerminal(c.notes)
	if f, ok := c.out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			c.width = width
		}
	}
	return c
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (c *console) say(format string, args ...any)  { fmt.Fprintf(c.out, format+"\n", args...) }
func (c *console) note(format string, args ...any) { fmt.Fprintf(c.notes, format+"\n", args...) }

// confirm asks, and takes nothing but y and yes for a yes.
func (c *console) confirm(question string) error {
	if !c.canAsk {
		return errNoTerminal
	}
	fmt.Fprintf(c.notes, "%s [y/N] ", question)
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil {
		fmt.Fprintln(c.notes)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errNotConfirmed
}
