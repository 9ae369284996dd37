package main

import (
	"net/http"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recallmq/recall/dashboard"
)

// web is the dashboard of a server.
type web struct {
	path string // where it is, such as "/dashboard"; "": nowhere
}

func (d *web) addFlag(cmd *cobra.Command, otherwise string) {
	cmd.Flags().StringVar(&d.path, "dashboard", otherwise,
		"path of the dashboard, such as /dashboard, where a token logs in; empty: none")
}

// check refuses a path that could not be reached, or that would hide the API.
func (d *web) check() error {
	if d.path == "" {
		return nil
	}
	d.path = strings.TrimSuffix(d.path, "/")
	first, _, _ := strings.Cut(strings.TrimPrefix(d.path, "/"), "/")
	switch {
	case !strings.HasPrefix(d.path, "/") || path.Clean(d.path) != d.path || strings.ContainsAny(d.path, "?#%"):
		return usagef("--dashboard: %q is not a path such as /dashboard", d.path)
	case first == "" || first == "v1" || first == "v2" || first == "recall" || first == "healthz" || first == "readyz":
		return usagef("--dashboard: %q is where the API is", d.path)
	}
	return nil
}

// withDashboard serves the dashboard beside next. A token leads to the queue of the
// user whose it is.
func (s *server) withDashboard(next http.Handler) (http.Handler, error) {
	if s.web.path == "" {
		return next, nil
	}
	var users []dashboard.User
	for _, u := range s.users {
		log := s.log
		if u.name != "" {
			log = log.With("user", u.name)
		}
		users = append(users, dashboard.User{Name: u.name, Broker: u.broker, Options: &dashboard.Options{
			Tokens: u.tokens, ReadOnlyTokens: u.readOnly, Logger: log,
		}})
	}
	board, err := dashboard.NewUsers(users...)
	if err != nil {
		return nil, err
	}
	board = http.StripPrefix(s.web.path, board)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == s.web.path || strings.HasPrefix(r.URL.Path, s.web.path+"/") {
			board.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	}), nil
}

// announceDashboard says where it is.
func (s *server) announceDashboard(url string) {
	if s.web.path != "" {
		s.say("The dashboard is at %s%s/; a token logs in.", url, s.web.path)
	}
}
