package dashboard

import (
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/cron"
)

// firesShown is how many of the next times of a schedule are shown.
const firesShown = 4

// scheduleRow is a schedule with the times that come.
type scheduleRow struct {
	recall.Schedule
	Fires []time.Time
}

func schedulesPage(v *visit) error {
	list, err := v.site.broker.Schedules(v.r.Context())
	if err != nil && len(list) == 0 {
		return err
	}
	data := struct {
		Rows    []scheduleRow
		Problem string // some cannot be used here
	}{}
	if err != nil {
		_, data.Problem = explain(err)
	}
	for _, s := range list {
		data.Rows = append(data.Rows, scheduleRow{s, fires(&s)})
	}
	return v.show("schedules", "Schedules", data)
}

// fires are the next times of a schedule, none while it is paused.
func fires(s *recall.Schedule) (list []time.Time) {
	line, err := cron.Parse(s.Cron)
	if err != nil {
		return nil
	}
	// @every counts from when it was set, and so from any of its times.
	for t := s.Next; !t.IsZero() && len(list) < firesShown; t = line.Next(t, s.Next) {
		list = append(list, t)
	}
	return list
}

func changeSchedule(v *visit) error {
	return v.pauseOrResume("schedules", v.site.broker.PauseSchedule, v.site.broker.ResumeSchedule)
}
