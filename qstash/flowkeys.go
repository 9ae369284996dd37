package qstash

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/recallmq/recall"
)

var flowRoutes = []route{
	{"v2/flowControl", map[string]call{http.MethodGet: (*handler).listFlowKeys}},
	{"v2/flowControl/", map[string]call{http.MethodGet: (*handler).getFlowKey, http.MethodPost: (*handler).actOnFlowKey}},
	{"v2/globalParallelism", map[string]call{http.MethodGet: (*handler).globalParallelism}},
}

// flowKey is what GET returns.
type flowKey struct {
	FlowControlKey      string `json:"flowControlKey"`
	WaitListSize        int    `json:"waitListSize"`
	ParallelismMax      int    `json:"parallelismMax"`
	ParallelismCount    int    `json:"parallelismCount"`
	RateMax             int    `json:"rateMax"`
	RateCount           int    `json:"rateCount"`
	RatePeriod          int64  `json:"ratePeriod"`      // s
	RatePeriodStart     int64  `json:"ratePeriodStart"` // Unix time in s
	IsPaused            bool   `json:"isPaused"`
	IsPinnedParallelism bool   `json:"isPinnedParallelism"`
	IsPinnedRate        bool   `json:"isPinnedRate"`
}

func (h *handler) flowKeyBody(ctx context.Context, s *recall.FlowState) (flowKey, error) {
	waiting, err := h.b.Count(ctx, recall.Filter{FlowKeys: []string{s.Key}, States: []recall.State{recall.StateFlowWaiting}})
	out := flowKey{
		FlowControlKey: s.Key, WaitListSize: waiting.Pending, ParallelismMax: s.Limit.Parallelism, ParallelismCount: s.InFlight,
		RateMax: s.Limit.Rate, RateCount: s.Used, RatePeriod: seconds(s.Limit.Period),
		IsPaused: s.Paused, IsPinnedParallelism: s.PinnedParallelism, IsPinnedRate: s.PinnedRate,
	}
	if s.Limit.Rate > 0 && s.Limit.Period == 0 {
		out.RatePeriod = seconds(defaultPeriod)
	}
	if !s.PeriodStart.IsZero() {
		out.RatePeriodStart = s.PeriodStart.Unix()
	}
	return out, err
}

// listFlowKeys lists the keys that have a limit, or are paused or pinned; with
// search only those whose name has the text in it.
func (h *handler) listFlowKeys(w http.ResponseWriter, r *http.Request, _ string) error {
	search := queryValue(r.URL.RawQuery, "search")
	list, err := h.b.FlowKeys(r.Context())
	if err != nil {
		return err
	}
	out := []flowKey{}
	for i := range list {
		if !strings.Contains(list[i].Key, search) {
			continue
		}
		body, err := h.flowKeyBody(r.Context(), &list[i])
		if err != nil {
			return err
		}
		out = append(out, body)
	}
	answer(w, http.StatusOK, out)
	return nil
}

func (h *handler) getFlowKey(w http.ResponseWriter, r *http.Request, rest string) error {
	s, err := h.flowState(r.Context(), nameIn(rest))
	if err != nil {
		return err
	}
	body, err := h.flowKeyBody(r.Context(), &s)
	if err != nil {
		return err
	}
	answer(w, http.StatusOK, body)
	return nil
}

// flowState returns a key, also one that has no settings but messages.
func (h *handler) flowState(ctx context.Context, key string) (recall.FlowState, error) {
	s, err := h.b.FlowKey(ctx, key)
	if !errors.Is(err, recall.ErrNotFound) {
		return s, err
	}
	n, err := h.b.Count(ctx, recall.Filter{FlowKeys: []string{key}})
	if err == nil && n.Pending+n.InFlight == 0 {
		err = notFound("flow-control key %.100s not found", key)
	}
	return recall.FlowState{Key: key, InFlight: n.InFlight}, err
}

// actOnFlowKey serves the last word of the path. What is before it is the key, with
// any slashes that it has.
func (h *handler) actOnFlowKey(w http.ResponseWriter, r *http.Request, rest string) (err error) {
	key, action := cutAction(rest)
	ctx := r.Context()
	switch action {
	case "pause":
		err = h.b.PauseFlow(ctx, key)
	case "resume":
		err = h.b.ResumeFlow(ctx, key)
	case "pin":
		err = h.pinFlow(r, key)
	case "unpin":
		err = h.unpinFlow(r, key)
	case "resetrate", "reset":
		err = h.resetFlow(ctx, key)
	default:
		return noAction(action, "pause", "resume", "pin", "unpin", "resetRate")
	}
	if err != nil {
		return err
	}
	return done(w)
}

// pinFlow pins the parts of the limit that the query names, and begins a new period
// where that is the rate or its period.
func (h *handler) pinFlow(r *http.Request, key string) error {
	params, err := readParams(r, "parallelism", "rate", "period")
	if err != nil {
		return err
	}
	if len(params) == 0 {
		return badRequest("one of parallelism, rate and period must be given")
	}
	var l recall.FlowLimit
	for name, value := range params {
		if err := setLimit(&l, name, value); err != nil {
			return badRequest("%v", err)
		}
	}
	var parts []recall.FlowPart
	if l.Parallelism > 0 {
		parts = append(parts, recall.FlowParallelism)
	}
	if l.Rate == 0 && l.Period == 0 {
		return h.b.PinFlow(r.Context(), key, l, parts...)
	}
	if err := h.completeRate(r.Context(), key, &l); err != nil {
		return err
	}
	if err := h.b.PinFlow(r.Context(), key, l, append(parts, recall.FlowRate)...); err != nil {
		return err
	}
	return h.b.ResetFlow(r.Context(), key)
}

// completeRate adds to a rate the period that the key has, or to a period the rate.
func (h *handler) completeRate(ctx context.Context, key string, l *recall.FlowLimit) error {
	s, err := h.b.FlowKey(ctx, key)
	if err != nil && !errors.Is(err, recall.ErrNotFound) {
		return err
	}
	l.Rate, l.Period = cmp.Or(l.Rate, s.Limit.Rate), cmp.Or(l.Period, s.Limit.Period)
	if l.Rate == 0 {
		return badRequest("the key has no rate, so there is nothing for the period to count")
	}
	return nil
}

// unpinFlow unpins the parts of the limit that the query says true of.
func (h *handler) unpinFlow(r *http.Request, key string) error {
	params, err := readParams(r, "parallelism", "rate")
	if err != nil {
		return err
	}
	if len(params) == 0 {
		return badRequest("one of parallelism=true and rate=true must be given")
	}
	var parts []recall.FlowPart
	for name, value := range params {
		yes, err := parseBool(name, []string{value})
		if err != nil {
			return err
		}
		if yes {
			parts = append(parts, map[string]recall.FlowPart{"parallelism": recall.FlowParallelism, "rate": recall.FlowRate}[name])
		}
	}
	if parts == nil { // none would mean all
		return nil
	}
	return h.b.UnpinFlow(r.Context(), key, parts...)
}

// resetFlow begins a new period. A key without a limit has none.
func (h *handler) resetFlow(ctx context.Context, key string) error {
	if _, err := h.flowState(ctx, key); err != nil {
		return err
	}
	if err := h.b.ResetFlow(ctx, key); !errors.Is(err, recall.ErrNotFound) {
		return err
	}
	return nil
}

// globalParallelism is what the slots of the broker are.
func (h *handler) globalParallelism(w http.ResponseWriter, _ *http.Request, _ string) error {
	s := h.b.Stats()
	answer(w, http.StatusOK, map[string]int{"parallelismMax": s.Slots, "parallelismCount": s.Busy})
	return nil
}

// queryValue is the first value of a parameter, "" if there is none.
func queryValue(raw, name string) string {
	for p, err := range pairsOf(raw) {
		if err == nil && p.name == name {
			return p.value
		}
	}
	return ""
}

// readParams reads the parameters of a request that knows only these, each at most
// once.
func readParams(r *http.Request, known ...string) (map[string]string, error) {
	params := map[string]string{}
	for p, err := range pairsOf(r.URL.RawQuery) {
		switch _, twice := params[p.name]; {
		case err != nil:
			return nil, badRequest("the query cannot be read: %v", err)
		case p.name == tokenParam:
			continue
		case !slices.Contains(known, p.name):
			return nil, badRequest("unknown parameter %.100q", p.name)
		case twice:
			return nil, badRequest("%s is given twice", p.name)
		}
		params[p.name] = p.value
	}
	return params, nil
}
