package qstash

import (
	"errors"
	"net/http"
	"unicode/utf8"

	"github.com/recallmq/recall"
)

var scheduleRoutes = []route{
	{"v2/schedules", map[string]call{http.MethodGet: (*handler).listSchedules, http.MethodPost: noDestination}},
	{"v2/schedules/", map[string]call{
		http.MethodGet: (*handler).getSchedule, http.MethodDelete: (*handler).deleteSchedule,
		http.MethodPost: (*handler).postSchedule, http.MethodPatch: (*handler).actOnSchedule,
	}},
}

// schedule is what GET returns.
type schedule struct {
	ScheduleID  string      `json:"scheduleId"`
	Cron        string      `json:"cron"`
	Destination string      `json:"destination"`
	CreatedAt   int64       `json:"createdAt"`
	Method      string      `json:"method"`
	Header      http.Header `json:"header"`
	Body        string      `json:"body,omitempty"`
	BodyBase64  []byte      `json:"bodyBase64,omitempty"`
	Retries     int         `json:"retries"`
	RetryDelay  string      `json:"retryDelayExpression,omitempty"`
	Delay       int64       `json:"delay,omitempty"`   // s
	Timeout     int64       `json:"timeout,omitempty"` // s

	QueueName string `json:"queueName,omitempty"`
	CallerIP  string `json:"callerIP,omitempty"`
	CallerIp  string `json:"callerIp,omitempty"` //nolint:staticcheck // the wire has both spellings
	shared

	IsPaused         bool   `json:"isPaused"`
	LastScheduleTime int64  `json:"lastScheduleTime,omitempty"`
	NextScheduleTime int64  `json:"nextScheduleTime,omitempty"`
	Error            string `json:"error,omitempty"`

	// By the ids of what was published at the last time; of one schedule only.
	LastScheduleStates map[recall.MessageID]string `json:"lastScheduleStates,omitempty"`
}

func (h *handler) scheduleBody(s *recall.Schedule) schedule {
	m := s.Message
	if m.Retries == nil {
		m.Retries = h.b.Options().Retries
	}
	out := schedule{
		ScheduleID: s.ID, Cron: s.Cron, Destination: m.URL, CreatedAt: millis(s.CreatedAt), Method: m.Method,
		Header: object(m.Header), Retries: *m.Retries, RetryDelay: m.RetryDelay, Delay: seconds(m.Delay), Timeout: seconds(m.Timeout),
		QueueName: m.Queue, CallerIP: m.CallerIP, CallerIp: m.CallerIP, shared: sharedBy(&m),
		IsPaused: s.Paused, LastScheduleTime: millis(s.Last), NextScheduleTime: millis(s.Next), Error: s.Error,
	}
	if m.URL == "" {
		out.Destination = m.Topic
	}
	if m.Method == "" {
		out.Method = http.MethodPost
	}
	if utf8.Valid(m.Body) {
		out.Body = string(m.Body)
	} else {
		out.BodyBase64 = m.Body
	}
	return out
}

func (h *handler) listSchedules(w http.ResponseWriter, r *http.Request, _ string) error {
	list, err := h.b.Schedules(r.Context())
	if !usable(h, list, err) {
		return err
	}
	out := make([]schedule, len(list))
	for i := range list {
		out[i] = h.scheduleBody(&list[i])
	}
	answer(w, http.StatusOK, out)
	return nil
}

func (h *handler) getSchedule(w http.ResponseWriter, r *http.Request, rest string) error {
	id := nameIn(rest)
	s, err := h.b.Schedule(r.Context(), id)
	if err != nil {
		return scheduleNotFound(id, err)
	}
	body := h.scheduleBody(&s)
	body.LastScheduleStates = h.lastStates(r.Context(), &s)
	answer(w, http.StatusOK, body)
	return nil
}

func scheduleNotFound(id string, err error) error {
	if errors.Is(err, recall.ErrNoSchedule) {
		return notFound("schedule %.100s not found", id)
	}
	return err
}

func (h *handler) deleteSchedule(w http.ResponseWriter, r *http.Request, rest string) error {
	id := nameIn(rest)
	if err := h.b.DeleteSchedule(r.Context(), id); err != nil {
		return scheduleNotFound(id, err)
	}
	return done(w)
}

// postSchedule makes a schedule, or does something to one: what follows the slash
// of a URL is a part of it.
func (h *handler) postSchedule(w http.ResponseWriter, r *http.Request, rest string) error {
	if _, action := cutAction(rest); action != "" && !isURL(rest) && !isEscapedURL(rest) {
		return h.actOnSchedule(w, r, rest)
	}
	m, s, err := h.readMessage(r, "", rest)
	if err != nil {
		return err
	}
	if s.get("Cron") == "" {
		return badRequest("a schedule needs an Upstash-Cron")
	}
	return h.setSchedule(w, r, s, m)
}

// actOnSchedule is PATCH by SDKs, and POST by the documents.
func (h *handler) actOnSchedule(w http.ResponseWriter, r *http.Request, rest string) (err error) {
	id, action := cutAction(rest)
	switch action {
	case "pause":
		err = h.b.PauseSchedule(r.Context(), id)
	case "resume":
		err = h.b.ResumeSchedule(r.Context(), id)
	default:
		return noAction(action, "pause", "resume")
	}
	if err != nil {
		return scheduleNotFound(id, err)
	}
	return done(w)
}

// setSchedule stores a schedule in the place of the one with its id.
func (h *handler) setSchedule(w http.ResponseWriter, r *http.Request, s settings, m recall.Message) error {
	id := s.get("Schedule-Id")
	if id != "" && !isName(id) {
		return badRequest("Upstash-Schedule-Id: %.100q is no name: letters, digits and -_. make a name", id)
	}
	set, err := h.b.SetSchedule(r.Context(), recall.Schedule{ID: id, Cron: s.get("Cron"), Message: m})
	if err != nil {
		return tooManySchedules(groupNotFound(m.Topic, err))
	}
	answer(w, http.StatusOK, map[string]string{"scheduleId": set.ID})
	return nil
}

// tooManySchedules gives the limit its status.
func tooManySchedules(err error) error {
	var invalid *recall.InvalidError
	if errors.As(err, &invalid) && invalid.Field == "Schedule" {
		return httpError(http.StatusPreconditionFailed, "%s", invalid.Reason)
	}
	return err
}
