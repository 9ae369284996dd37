package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	cookieName  = "recall_session"
	sessionTime = 12 * time.Hour
	// maxSessions bounds the memory of logins. The one that ends first gives way.
	maxSessions = 10_000
)

// key is a token as its hash: all have one length, and nothing else is needed.
type key struct {
	hash  [sha256.Size]byte
	write bool
}

func keysOf(o *Options) (list []key) {
	for _, token := range o.Tokens {
		if token != "" {
			list = append(list, key{sha256.Sum256([]byte(token)), true})
		}
	}
	for _, token := range o.ReadOnlyTokens {
		if token != "" {
			list = append(list, key{sha256.Sum256([]byte(token)), false})
		}
	}
	return list
}

// sessions are those who are logged in, by the hash of what their cookie says.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]session
}

type session struct {
	site  *site
	write bool
	ends  time.Time
}

// begin returns what the cookie of a new session says.
func (s *sessions) begin(of session, now time.Time) string {
	text := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = map[[sha256.Size]byte]session{}
	}
	if len(s.all) >= maxSessions {
		s.makeRoom(now)
	}
	s.all[sha256.Sum256([]byte(text))] = of
	return text
}

// makeRoom forgets the sessions that have ended, or else the one that ends first.
// The lock is held.
func (s *sessions) makeRoom(now time.Time) {
	var first [sha256.Size]byte
	for id, other := range s.all {
		if !now.Before(other.ends) {
			delete(s.all, id)
		} else if held, ok := s.all[first]; !ok || other.ends.Before(held.ends) {
			first = id
		}
	}
	if len(s.all) >= maxSessions {
		delete(s.all, first)
	}
}

func (s *sessions) find(text string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.all[sha256.Sum256([]byte(text))]
	return found, ok && found.site.clock.Now().Before(found.ends)
}

func (s *sessions) end(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, sha256.Sum256([]byte(text)))
}

// visitor says who sends a request; nil: somebody who has to log in.
func (h *handler) visitor(w http.ResponseWriter, r *http.Request) *visit {
	v := h.stranger(w, r)
	if v.site.open {
		v.write = !v.site.readOnly
		return v
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	found, ok := h.sessions.find(cookie.Value)
	if !ok {
		return nil
	}
	v.site, v.session = found.site, cookie.Value
	v.now, v.write = v.site.clock.Now(), found.write && !v.site.readOnly
	return v
}

// holder looks at every token, in the same time for every text.
func (h *handler) holder(text string) (found session, ok bool) {
	hash := sha256.Sum256([]byte(text))
	readOnly := false
	for _, s := range h.sites {
		for i := range s.keys {
			if subtle.ConstantTimeCompare(hash[:], s.keys[i].hash[:]) == 1 {
				found.site, ok = s, true
				readOnly = readOnly || !s.keys[i].write
			}
		}
	}
	found.write = !readOnly
	return found, ok
}

// askForToken sends somebody who is not logged in to the page for that.
func (h *handler) askForToken(w http.ResponseWriter, r *http.Request) {
	v := h.stranger(w, r)
	if r.Method != http.MethodGet && r.Method != http.MethodHead || r.Header.Get(fragmentHeader) != "" {
		v.fail(&fault{status: http.StatusUnauthorized, text: "You are not logged in, or no longer."})
		return
	}
	to := v.root + "login"
	if next := strings.TrimPrefix(r.URL.Path, "/"); next != "" {
		if r.URL.RawQuery != "" {
			next += "?" + r.URL.RawQuery
		}
		to += "?" + url.Values{"next": {next}}.Encode()
	}
	redirect(w, to)
}

// ownPage is the path of one of ours.
var ownPage = regexp.MustCompile(`^[a-z]+(/[A-Za-z0-9_-]+)*$`)

// afterLogin is where somebody goes who wanted to see a page, with its filter. It leads
// nowhere else, whatever next says: then to the first page.
func afterLogin(next string) string {
	path, query, _ := strings.Cut(next, "?")
	values, err := url.ParseQuery(query)
	if err != nil || !ownPage.MatchString(path) {
		return "./"
	}
	if len(values) == 0 {
		return "./" + path
	}
	return "./" + path + "?" + values.Encode()
}

func (h *handler) loginPage(w http.ResponseWriter, r *http.Request) {
	h.showLogin(w, r, http.StatusOK, r.URL.Query().Get("next"), "")
}

func (h *handler) showLogin(w http.ResponseWriter, r *http.Request, status int, next, problem string) {
	v := h.stranger(w, r)
	if v.site.open {
		redirect(w, v.root)
		return
	}
	v.showStatus(status, "login", "Log in", struct{ Next, Problem string }{next, problem})
}

func (h *handler) login(w http.ResponseWriter, r *http.Request) {
	if err := parseForm(r); err != nil {
		h.stranger(w, r).fail(err)
		return
	}
	next := r.PostForm.Get("next")
	found, ok := h.holder(r.PostForm.Get("token"))
	if !ok {
		h.showLogin(w, r, http.StatusUnauthorized, next, "This is not a token that is known here.")
		return
	}
	now := found.site.clock.Now()
	found.ends = now.Add(sessionTime)
	http.SetCookie(w, sessionCookie(r, h.sessions.begin(found, now), int(sessionTime/time.Second)))
	redirect(w, afterLogin(next))
}

func (h *handler) logout(v *visit) error {
	h.sessions.end(v.session)
	http.SetCookie(v.w, sessionCookie(v.r, "", -1))
	redirect(v.w, v.root+"login")
	return nil
}

// sessionCookie has no path: the browser takes that of the login page, which is
// the prefix under which the handler is mounted.
func sessionCookie(r *http.Request, text string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: cookieName, Value: text, MaxAge: maxAge, HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	}
}
