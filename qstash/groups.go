package qstash

import (
	"errors"
	"net/http"
	"strings"

	"github.com/recallmq/recall"
)

// URL groups are "topics" on the wire.
var groupRoutes = []route{
	{"v2/topics", map[string]call{http.MethodGet: (*handler).listGroups}},
	{"v2/topics/", map[string]call{
		http.MethodGet: (*handler).getGroup, http.MethodDelete: (*handler).deleteGroup,
		http.MethodPost: (*handler).addEndpoints, http.MethodPatch: (*handler).setGroupDefaults,
	}},
}

// group is what GET returns.
type group struct {
	Name      string            `json:"name"`
	CreatedAt int64             `json:"createdAt"`
	UpdatedAt int64             `json:"updatedAt"`
	Endpoints []recall.Endpoint `json:"endpoints"`
	Headers   http.Header       `json:"headers,omitempty"`
}

func groupBody(t *recall.Topic) group {
	return group{t.Name, millis(t.CreatedAt), millis(t.UpdatedAt), listed(t.Endpoints), t.Defaults}
}

func (h *handler) listGroups(w http.ResponseWriter, r *http.Request, _ string) error {
	list, err := h.b.Topics(r.Context())
	if !usable(h, list, err) {
		return err
	}
	out := make([]group, len(list))
	for i := range list {
		out[i] = groupBody(&list[i])
	}
	answer(w, http.StatusOK, out)
	return nil
}

func (h *handler) getGroup(w http.ResponseWriter, r *http.Request, rest string) error {
	name := nameIn(rest)
	t, err := h.b.Topic(r.Context(), name)
	if err != nil {
		return groupNotFound(name, err)
	}
	answer(w, http.StatusOK, groupBody(&t))
	return nil
}

// endpoints is the body of a request about endpoints.
type endpoints struct {
	Endpoints []recall.Endpoint `json:"endpoints"`
}

// readEndpoints reads the group of a path, and the endpoints of a body.
func readEndpoints(r *http.Request, rest string) (name string, list []recall.Endpoint, err error) {
	name, word := cutAction(rest)
	if word != "endpoints" {
		return "", nil, noAction(word, "endpoints")
	}
	var body endpoints
	if err := readObject(r, &body); err != nil {
		return "", nil, err
	}
	if len(body.Endpoints) == 0 {
		return "", nil, badRequest("endpoints: there are none")
	}
	return name, body.Endpoints, nil
}

// addEndpoints makes the group if there is none.
func (h *handler) addEndpoints(w http.ResponseWriter, r *http.Request, rest string) error {
	name, list, err := readEndpoints(r, rest)
	if err != nil {
		return err
	}
	if !isName(name) {
		return badRequest("%.100q cannot be the name of a URL group: letters, digits and -_. make a name", name)
	}
	for i, e := range list {
		if err := h.checkEndpoint(e); err != nil {
			return badRequest("endpoint %d: %v", i, err)
		}
	}
	t, err := h.b.AddEndpoints(r.Context(), name, list...)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, groupBody(&t))
	return nil
}

func (h *handler) checkEndpoint(e recall.Endpoint) error {
	if isGroup, err := h.checkDestination(e.URL); err != nil {
		return err
	} else if isGroup {
		return badURL()
	}
	return nil
}

// removeEndpoints removes the group with its last endpoint.
func (h *handler) removeEndpoints(w http.ResponseWriter, r *http.Request, rest string) error {
	name, list, err := readEndpoints(r, rest)
	if err != nil {
		return err
	}
	for i, e := range list {
		if e == (recall.Endpoint{}) {
			return badRequest("endpoint %d has neither name nor url", i)
		}
	}
	t, err := h.b.RemoveEndpoints(r.Context(), name, list...)
	if err != nil {
		return groupNotFound(name, err)
	}
	answer(w, http.StatusOK, groupBody(&t))
	return nil
}

// deleteGroup deletes a group, unless a schedule publishes to it. A group that
// does not exist is deleted already.
func (h *handler) deleteGroup(w http.ResponseWriter, r *http.Request, rest string) error {
	if _, word := cutAction(rest); word == "endpoints" {
		return h.removeEndpoints(w, r, rest)
	}
	name := nameIn(rest)
	schedules, err := h.b.Schedules(r.Context())
	if !usable(h, schedules, err) {
		return err
	}
	for _, s := range schedules {
		if s.Message.URL == "" && s.Message.Topic == name {
			return httpError(http.StatusPreconditionFailed, "the schedule %s publishes to topic %s: delete it first", s.ID, name)
		}
	}
	if err := h.b.DeleteTopic(r.Context(), name); err != nil && !errors.Is(err, recall.ErrNoTopic) {
		return err
	}
	return done(w)
}

// setGroupDefaults replaces the settings beneath those of who publishes to the
// group. They are checked here: whoever publishes could not help it.
func (h *handler) setGroupDefaults(w http.ResponseWriter, r *http.Request, rest string) error {
	var body struct {
		Headers map[string]headerValue `json:"headers"`
	}
	if err := readObject(r, &body); err != nil {
		return err
	}
	if body.Headers == nil {
		return badRequest("headers are missing")
	}
	defaults, err := (&batchItem{Headers: body.Headers}).header()
	if err != nil {
		return err
	}
	if err := h.checkDefaults(defaults); err != nil {
		return err
	}
	name := nameIn(rest)
	t, err := h.b.SetTopicDefaults(r.Context(), name, defaults)
	if err != nil {
		return groupNotFound(name, err)
	}
	answer(w, http.StatusOK, groupBody(&t))
	return nil
}

// notDefault are settings of one request, and never of a group.
var notDefault = []string{"Cron", "Schedule-Id", "Deduplication-Id"}

func (h *handler) checkDefaults(defaults http.Header) error {
	s := settings{defaults: defaults}
	for _, name := range notDefault {
		if s.get(name) != "" {
			return badRequest("%s%s cannot be the default of a URL group", prefix, name)
		}
	}
	for name := range defaults {
		if strings.EqualFold(name, "Authorization") {
			return badRequest("Authorization cannot be the default of a URL group: use Upstash-Forward-Authorization")
		}
	}
	var m recall.Message
	return h.configure(s, &m)
}
