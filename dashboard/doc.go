// Package dashboard is a web page for a broker: what waits, what runs, what has
// failed, and bulk cancellations with their count, plan and sample before, their
// progress while they run, and their undo afterwards.
//
//	board := dashboard.Handler(b, &dashboard.Options{
//		Tokens:         []string{os.Getenv("DASHBOARD_TOKEN")},
//		ReadOnlyTokens: []string{os.Getenv("DASHBOARD_READ_TOKEN")},
//	})
//	mux.Handle("/queue/", http.StripPrefix("/queue", board))
//
// [Handler] can be mounted under any prefix, as all its links are relative. All
// that it sends is embedded in the program: pages ask nothing of other servers,
// have no script or style within them, and can be read without JavaScript, which
// adds live updates and the preview at every keystroke.
//
// Whoever reaches a handler without tokens may do everything: mount it behind a
// login of your own, or give it Options.Tokens. Requests that change something are
// refused if they come from a page of another origin.
package dashboard
