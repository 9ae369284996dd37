package main

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// consoleOrigin is the page of QStash's vendor whose local mode calls a dev server
// from the browser.
const consoleOrigin = "https://console.upstash.com"

func (s *server) addOriginFlag(cmd *cobra.Command, origins ...string) {
	cmd.Flags().StringSliceVar(&s.origins, "allow-origin", origins,
		"web page that may call the server from a browser, such as https://admin.example.com, or * (repeatable)")
}

// checkOrigins refuses what no browser sends as an origin, and so would allow
// nothing.
func (s *server) checkOrigins() error {
	for _, text := range s.origins {
		if text != "*" && !isOrigin(text) {
			return usagef("--allow-origin: %q is not the origin of a page, such as https://admin.example.com", text)
		}
	}
	return nil
}

func isOrigin(text string) bool {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	return err == nil && u.Host != "" && u.Scheme+"://"+u.Host == u.String()
}
