package admin

import (
	"context"

	"github.com/recallmq/recall"
)

var scheduleCalls = map[string]call{
	"schedules/list": whole(func(b *recall.Broker) func(context.Context) ([]recall.Schedule, error) { return b.Schedules },
		WireSchedule, func(s *Schedule) string { return s.ID }),
	"schedules/get": one(true, func(ctx context.Context, h *handler, q *byID[string]) (Schedule, error) {
		s, err := h.b.Schedule(ctx, q.ID)
		return WireSchedule(s), err
	}),
	"schedules/set":    one(false, doSetSchedule),
	"schedules/pause":  done(func(ctx context.Context, b *recall.Broker, q *byID[string]) error { return b.PauseSchedule(ctx, q.ID) }),
	"schedules/resume": done(func(ctx context.Context, b *recall.Broker, q *byID[string]) error { return b.ResumeSchedule(ctx, q.ID) }),
	"schedules/delete": done(func(ctx context.Context, b *recall.Broker, q *byID[string]) error { return b.DeleteSchedule(ctx, q.ID) }),
}

// setSchedule is the request for SetSchedule.
type setSchedule struct {
	Schedule Schedule `json:"schedule"`
}

func doSetSchedule(ctx context.Context, h *handler, q *setSchedule) (Schedule, error) {
	s, err := q.Schedule.schedule()
	if err == nil {
		err = h.checkLocal(&s.Message)
	}
	if err != nil {
		return Schedule{}, err
	}
	setCaller(ctx, &s.Message)
	s, err = h.b.SetSchedule(ctx, s)
	return WireSchedule(s), err
}
