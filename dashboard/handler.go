package dashboard

import (
	"net/http"
	"path"
	"strings"
	"time"
)

// handler serves all users.
type handler struct {
	mux      *http.ServeMux
	cross    *http.CrossOriginProtection
	sites    []*site
	sessions sessions
}

// visit is one request of somebody who may make it.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	site    *site
	root    string // the way back to the overview, such as "../"
	now     time.Time
	write   bool // the visitor may change something
	session string
}

func newHandler() *handler {
	h := &handler{mux: http.NewServeMux(), cross: http.NewCrossOriginProtection()}
	h.routes()
	return h
}

func (h *handler) add(u User) { h.sites = append(h.sites, newSite(u)) }

// routes lists every address. What changes something is a POST.
func (h *handler) routes() {
	h.mux.HandleFunc("GET /assets/{version}/{name}", serveAsset)
	h.mux.HandleFunc("GET /login", h.loginPage)
	h.mux.HandleFunc("POST /login", h.login)
	for pattern, page := range map[string]func(*visit) error{
		"GET /{$}":               overviewPage,
		"GET /messages":          messagesPage,
		"GET /messages/{id}":     messagePage,
		"GET /queues":            queuesPage,
		"GET /flow":              flowPage,
		"GET /schedules":         schedulesPage,
		"GET /schedules/delete":  confirmScheduleDelete,
		"GET /topics":            topicsPage,
		"GET /dead":              deadPage,
		"GET /dead/{id}":         deadLetterPage,
		"GET /dead/delete":       confirmDeadDelete,
		"GET /events":            eventsPage,
		"GET /bulk":              bulkPage,
		"GET /bulk/confirm":      confirmPage,
		"GET /bulk/runs/{id}":    runPage,
		"GET /operations":        operationsPage,
		"GET /operations/{id}":   operationPage,
		"GET /standing":          standingPage,
		"GET /messages/{id}/raw": rawPage,

		"POST /logout":                  h.logout,
		"POST /messages/{id}/change":    changeMessage,
		"POST /queues/change":           changeQueue,
		"POST /flow/change":             changeFlow,
		"POST /schedules/change":        changeSchedule,
		"POST /schedules/delete":        deleteSchedule,
		"POST /dead/change":             changeDead,
		"POST /dead/delete":             deleteDead,
		"POST /bulk/run":                startRun,
		"POST /bulk/runs/{id}/stop":     stopRun,
		"POST /operations/{id}/restore": restoreOperation,
		"POST /standing/create":         stand,
		"POST /operations/{id}/lift":    liftStanding,
	} {
		h.mux.Handle(pattern, h.page(page))
	}
}

// ServeHTTP implements [http.Handler].
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	if r.URL.Path == "" && !strings.HasSuffix(pathSent(r), "/") {
		// Mounted without a slash at the end, relative links would lead elsewhere.
		redirect(w, path.Base(pathSent(r))+"/")
		return
	}
	if !strings.HasPrefix(r.URL.Path, "/") {
		r = belowSlash(r)
	}
	if err := h.admit(w, r); err != nil {
		h.stranger(w, r).fail(err)
		return
	}
	// The mux would send those who ask for an unclean path to the clean one, but it
	// does not know the prefix. To it and to browsers an escaped slash is none.
	sent := r.URL.EscapedPath()
	if next, pattern := h.mux.Handler(r); pattern != "" && path.Clean(sent) == sent {
		h.mux.ServeHTTP(w, r)
	} else {
		h.stranger(w, r).fail(refusal(next, r))
	}
}

// refusal is why the mux has no page for a request.
func refusal(next http.Handler, r *http.Request) error {
	answer := &discarded{header: http.Header{}}
	next.ServeHTTP(answer, r)
	if answer.status == http.StatusMethodNotAllowed {
		return &fault{http.StatusMethodNotAllowed, "This address does not take the method " + r.Method + ".", answer.header.Get("Allow")}
	}
	return &fault{status: http.StatusNotFound, text: "There is no such page."}
}

// discarded is an answer of which only the status and the header are of interest.
type discarded struct {
	header http.Header
	status int
}

func (d *discarded) Header() http.Header         { return d.header }
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarded) WriteHeader(status int)      { d.status = status }

// page lets those in who may see a page or change something.
func (h *handler) page(show func(*visit) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := h.visitor(w, r)
		if v == nil {
			h.askForToken(w, r)
			return
		}
		err := v.check()
		if err == nil {
			err = show(v)
		}
		if err != nil {
			v.fail(err)
		}
	})
}

// stranger is a visit of somebody who is not known, or has not been asked for.
func (h *handler) stranger(w http.ResponseWriter, r *http.Request) *visit {
	s := h.sites[0]
	return &visit{w: w, r: r, site: s, root: rootOf(r), now: s.clock.Now()}
}

// rootOf is the way from the address of a request to that of the overview. Browsers
// resolve it, and to them only a slash that is not escaped parts two segments.
func rootOf(r *http.Request) string {
	if n := strings.Count(r.URL.EscapedPath(), "/"); n > 1 {
		return strings.Repeat("../", n-1)
	}
	return "./"
}

// redirect sends the visitor to an address relative to that of the request.
// http.Redirect would make it absolute, without the prefix.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}

// pathSent is the path of the request before a prefix was cut off.
func pathSent(r *http.Request) string {
	sent, _, _ := strings.Cut(r.RequestURI, "?")
	return sent
}

// belowSlash puts a slash before the path of a request.
func belowSlash(r *http.Request) *http.Request {
	changed := *r
	u := *r.URL
	u.Path = "/" + u.Path
	if u.RawPath != "" {
		u.RawPath = "/" + u.RawPath
	}
	changed.URL = &u
	return &changed
}
