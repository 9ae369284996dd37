package dashboard

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed templates
var templateFiles embed.FS

// fragmentHeader asks for the live part of a page alone. Scripts of other origins
// cannot send it without being asked about.
const fragmentHeader = "Recall-Fragment"

// pages are the templates by their names, each with the layout around it.
var pages = func() map[string]*template.Template {
	all := map[string]*template.Template{}
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // they are embedded
	}
	base := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".html")
		if name != "layout" && name != "parts" {
			all[name] = template.Must(template.Must(base.Clone()).ParseFS(templateFiles, "templates/"+f.Name()))
		}
	}
	return all
}()

// link is an entry of the navigation.
type link struct {
	To, Text string
	Here     bool
}

var navigation = []link{
	{To: "", Text: "Overview"},
	{To: "messages", Text: "Messages"},
	{To: "bulk", Text: "Bulk cancel"},
	{To: "operations", Text: "History"},
	{To: "standing", Text: "Standing"},
	{To: "dead", Text: "Dead letters"},
	{To: "queues", Text: "Queues"},
	{To: "flow", Text: "Flow keys"},
	{To: "schedules", Text: "Schedules"},
	{To: "topics", Text: "URL groups"},
	{To: "events", Text: "Events"},
}

// frame is what the layout needs, around the data of a page.
type frame struct {
	Root, Assets         string
	Product, User, Title string
	Nav                  []link
	Write, ReadOnly      bool
	LoggedIn             bool
	Broken               bool
	Now                  time.Time
	Notice               string
	Data                 any
}

func (v *visit) show(page, title string, data any) error {
	v.showStatus(http.StatusOK, page, title, data)
	return nil
}

// showStatus renders all of a page before it sends any.
func (v *visit) showStatus(status int, page, title string, data any) {
	f := frame{
		Root: v.root, Assets: v.root + "assets/" + assetVersion + "/", Product: v.site.title, Title: title,
		Write: v.write, Now: v.now, Notice: v.notice(), Data: data,
	}
	if v.site.open || v.session != "" {
		f.User, f.LoggedIn, f.ReadOnly = v.site.name, v.session != "", !v.write
		f.Nav, f.Broken = v.navigation(), v.site.broker.Stats().Broken
	}
	name := "layout"
	if v.r.Header.Get(fragmentHeader) != "" && pages[page].Lookup("live") != nil {
		name = "live"
		v.w.Header().Set(fragmentHeader, "live")
	}
	var out bytes.Buffer
	if err := pages[page].ExecuteTemplate(&out, name, f); err != nil {
		v.site.log.Error("a page of the dashboard cannot be shown", "page", page, "error", err)
		http.Error(v.w, "The page cannot be shown. The log says why.", http.StatusInternalServerError)
		return
	}
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	_, _ = v.w.Write(out.Bytes()) // the client may be gone
}

// navigation marks where the visitor is.
func (v *visit) navigation() []link {
	first, _, _ := strings.Cut(strings.TrimPrefix(v.r.URL.Path, "/"), "/")
	list := make([]link, len(navigation))
	for i, l := range navigation {
		list[i] = link{To: v.root + l.To, Text: l.Text, Here: l.To == first}
	}
	return list
}

// notices say what a change has done, on the page that follows it. An address can
// name one of them, and nothing else.
var notices = map[string]string{
	"cancelled": "The message is cancelled.",
	"requested": "The running attempt is the last: the message is not tried again.",
	"held":      "The message is held.",
	"released":  "The message is released.",
	"retried":   "The message is due now.",
	"paused":    "Paused.",
	"resumed":   "Resumed.",
	"reset":     "What was used of the period is forgotten.",
	"deleted":   "Deleted.",
	"redriven":  "Published again, as new messages.",
	"restored":  "Restored: every message of this cancellation is back.",
	"lifted":    "Lifted. What it has taken stays cancelled.",
	"stood":     "The standing cancellation is in force.",
	"nothing":   "Nothing was changed: the state had changed already.",
}

func (v *visit) notice() string { return notices[v.r.URL.Query().Get("notice")] }

// done sends the visitor on to a page, with a notice.
func (v *visit) done(page, notice string) error {
	if notice != "" {
		page += "?notice=" + notice
	}
	redirect(v.w, v.root+page)
	return nil
}
