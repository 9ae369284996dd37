package main

import (
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

// logFlags say what is logged, and how.
type logFlags struct{ format, level string }

func (f *logFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "log-format", "text", "of the log on standard error: text, or json with an object a line")
	cmd.Flags().StringVar(&f.level, "log-level", "", "least level that is logged: debug, info, warn, error (default info)")
}

// handler writes to w what has the level, which a flag may change.
func (f *logFlags) handler(w io.Writer, level slog.Level) (slog.Handler, error) {
	if f.level != "" {
		if err := level.UnmarshalText([]byte(f.level)); err != nil {
			return nil, usagef("--log-level: %q is none of debug, info, warn, error", f.level)
		}
	}
	o := &slog.HandlerOptions{Level: level}
	switch f.format {
	case "", "text":
		return slog.NewTextHandler(w, o), nil
	case "json":
		return slog.NewJSONHandler(w, o), nil
	}
	return nil, usagef("--log-format: %q is neither text nor json", f.format)
}
