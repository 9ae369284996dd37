package main

import (
	"context"
	"iter"
	"strings"

	"github.com/spf13/cobra"
)

// each lists what is there already.
func each[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, item := range list {
			if !yield(item, nil) {
				return
			}
		}
	}
}

// named is a command that does something to one thing, and has nothing to show.
func named(use, short, long, example, what, done string, do func(ctx context.Context, s *session, name string) error) *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: exactly(1, what),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			if err := do(ctx, s, args[0]); err != nil {
				return err
			}
			return s.done(args[0], done)
		}),
	}
	t.addFlags(cmd)
	return cmd
}

// done says what became of a thing.
func (s *session) done(name, what string) error {
	if s.json {
		return printJSON(s.out, struct{}{})
	}
	s.say("%s %s.", printable(name), what)
	return nil
}

// removing is named for what cannot be undone: it asks.
func removing(use, short, long, example, what, done string, do func(ctx context.Context, s *session, name string) error) *cobra.Command {
	yes := false
	cmd := named(use, short, long, example, what, done, func(ctx context.Context, s *session, name string) error {
		if !yes {
			verb, _, _ := strings.Cut(use, " ")
			if err := s.confirm(capitalised(verb) + " " + printable(name) + "?"); err != nil {
				return err
			}
		}
		return do(ctx, s, name)
	})
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// listing is a command that lists all of something.
func listing[T any](cmd *cobra.Command, read func(ctx context.Context, s *session) ([]T, error), wire func(T) any, header []string, row func(T) []string) *cobra.Command {
	t := &target{}
	cmd.Args = noArgs
	cmd.RunE = t.run(func(ctx context.Context, s *session, _ []string) error {
		list, err := read(ctx, s)
		if err != nil && list == nil {
			return err
		}
		return cmpErr(err, show(s, each(list), wire, header, row)) // an error beside a list is about what is not in it
	})
	t.addFlags(cmd)
	return cmd
}

// showing is a command that shows one thing.
func showing[T any](use, short, example, what string, read func(ctx context.Context, s *session, name string) (T, error), wire func(T) any, fields func(T) []string) *cobra.Command {
	t := &target{}
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + ".", Example: example, Args: exactly(1, what),
		RunE: t.run(func(ctx context.Context, s *session, args []string) error {
			item, err := read(ctx, s, args[0])
			switch {
			case err != nil:
				return err
			case s.json:
				return printJSON(s.out, wire(item))
			}
			return s.fields(fields(item)...)
		}),
	}
	t.addFlags(cmd)
	return cmd
}
