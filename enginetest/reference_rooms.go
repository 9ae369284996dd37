package enginetest

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// flowUse is what the reference keeps of a flow-control key.
type flowUse struct {
	inFlight int
	start    time.Time
	used     int
}

// arriveSettings notes what a publication changes beside it.
func (r *Reference) arriveSettings(m *recall.Message, now time.Time) {
	r.makeQueue(m.Queue, now)
	if m.Flow == nil {
		return
	}
	s := r.flowSettings(m.FlowKey).After(*m.Flow)
	if s != (recall.FlowSettings{}) {
		r.objects[objectName{recall.ObjectFlow, m.FlowKey}] = asJSON(s)
	}
}

// makeQueue has a queue that is not there come into being.
func (r *Reference) makeQueue(name string, now time.Time) {
	queue := objectName{recall.ObjectQueue, name}
	if name != "" && r.objects[queue] == nil {
		r.objects[queue] = asJSON(recall.QueueSettings{Parallelism: 1, CreatedAt: millis(now), UpdatedAt: millis(now)})
	}
}

func asJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

func (r *Reference) flowSettings(key string) (s recall.FlowSettings) {
	_ = json.Unmarshal(r.objects[objectName{recall.ObjectFlow, key}], &s) // nothing there is no settings
	return s
}

func (r *Reference) queueSettings(name string) recall.QueueSettings {
	s := recall.QueueSettings{Parallelism: 1}
	_ = json.Unmarshal(r.objects[objectName{recall.ObjectQueue, name}], &s)
	return s
}

// blocked tells whether a message waits for others of its queue: it is not among
// the first that may be out.
func (r *Reference) blocked(e *entry) bool {
	if e.m.Queue == "" {
		return false
	}
	s := r.queueSettings(e.m.Queue)
	if s.Paused {
		return true
	}
	before, out := 0, 0
	for _, o := range r.live {
		if o.m.Queue == e.m.Queue && o.seq < e.seq {
			before++
		}
		if o.m.Queue == e.m.Queue && o.inFlight() {
			out++
		}
	}
	if out >= s.Parallelism { // of those that are younger, too: this one has come back
		return true
	}
	waiting := map[recall.MessageID]bool{}
	for _, o := range r.live {
		place := cmp.Or(o.m.Root, o.m.Source, o.m.ID)
		if o.m.Blocks == e.m.Queue && (place == o.m.ID || r.byID[place] == nil) {
			waiting[place] = true
		}
	}
	return before >= s.Parallelism-len(waiting)
}

// shut tells whether the flow-control key of a message lets no attempt begin.
func (r *Reference) shut(m *recall.Message, now time.Time) bool {
	s := r.flowSettings(m.FlowKey)
	if m.FlowKey == "" || r.objects[objectName{recall.ObjectFlow, m.FlowKey}] == nil {
		return false
	}
	use := r.use(m.FlowKey)
	if use.start.After(now) { // the clock was set back
		use.start = now
	}
	return s.Paused ||
		s.Limit.Parallelism > 0 && use.inFlight >= s.Limit.Parallelism ||
		s.Limit.Rate > 0 && !over(use, s.Limit, now) && use.used >= s.Limit.Rate
}

func (r *Reference) use(key string) *flowUse {
	if r.flows[key] == nil {
		r.flows[key] = &flowUse{}
	}
	return r.flows[key]
}

func over(use *flowUse, l recall.FlowLimit, now time.Time) bool {
	return use.start.IsZero() || !now.Before(use.start.Add(period(l)))
}

func period(l recall.FlowLimit) time.Duration {
	if l.Period == 0 {
		return time.Second
	}
	return l.Period
}

// begins counts an attempt.
func (r *Reference) begins(m *recall.Message, now time.Time) {
	use, l := r.use(m.FlowKey), r.flowSettings(m.FlowKey).Limit
	use.inFlight++
	if l.Rate == 0 {
		return
	}
	if over(use, l, now) {
		use.start, use.used = now, 0
	}
	use.used++
}

// ends counts the end of an attempt, which may not have happened.
func (r *Reference) ends(m *recall.Message, released bool) {
	use := r.use(m.FlowKey)
	use.inFlight = max(0, use.inFlight-1)
	if released {
		use.used = max(0, use.used-1)
	}
}

// nextPeriod is when the period of a closed key ends, or zero.
func (r *Reference) nextPeriod(key string, now time.Time) time.Time {
	use, l := r.use(key), r.flowSettings(key).Limit
	if l.Rate == 0 || over(use, l, now) {
		return time.Time{}
	}
	return use.start.Add(period(l))
}

// FlowStates implements [recall.FlowController].
func (r *Reference) FlowStates(ctx context.Context, now time.Time) (list []recall.FlowState, err error) {
	objects, err := r.Objects(ctx, recall.ObjectFlow)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range objects {
		s := recall.FlowState{Key: o.Name, FlowSettings: r.flowSettings(o.Name)}
		use := r.use(o.Name)
		if s.InFlight = use.inFlight; !over(use, s.Limit, now) {
			s.PeriodStart, s.Used = use.start, use.used
		}
		list = append(list, s)
	}
	return list, nil
}

// ResetFlow implements [recall.FlowController].
func (r *Reference) ResetFlow(ctx context.Context, key string, _ time.Time) error {
	if err := r.begin(ctx); err != nil {
		return err
	}
	defer r.mu.Unlock()
	if r.objects[objectName{recall.ObjectFlow, key}] == nil {
		return recall.ErrNotFound
	}
	use := r.use(key)
	use.start, use.used = time.Time{}, 0
	hint(r.claim)
	return nil
}

// claimable returns what waits and may be asked for, in the order of claims.
func (r *Reference) claimable(req recall.ClaimRequest) (waiting []*entry) {
	for _, e := range r.live {
		if !e.inFlight() && !e.held && wanted(e.m.URL, req) && !r.blocked(e) {
			waiting = append(waiting, e)
		}
	}
	claimOrder(waiting, req.Now)
	return waiting
}

// nextOpen is when there is more of what waits for no flow-control key, or zero.
func (r *Reference) nextOpen(req recall.ClaimRequest) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.claimable(req) {
		if !r.shut(&e.m, req.Now) {
			return e.m.DueAt
		}
	}
	return time.Time{}
}

// claimOrder sorts what waits: what is due by priority and then by its time, and
// behind that what is not.
func claimOrder(waiting []*entry, now time.Time) {
	isDue := func(e *entry) bool { return !e.m.DueAt.After(millis(now)) }
	slices.SortStableFunc(waiting, func(a, b *entry) int {
		switch {
		case isDue(a) != isDue(b):
			if isDue(a) {
				return -1
			}
			return 1
		case isDue(a) && a.m.Priority != b.m.Priority:
			return b.m.Priority - a.m.Priority
		}
		return a.m.DueAt.Compare(b.m.DueAt)
	})
}
