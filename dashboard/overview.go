package dashboard

import (
	"time"

	"github.com/recallmq/recall"
)

// overview is the page of what goes on.
type overview struct {
	Stats      recall.Stats
	States     []stateCount
	Plots      []plot
	Options    recall.Options
	NoDelivery bool
	FileShare  int // of the file that is in use, in percent
	Recent     []recall.Operation
}

// recentOnOverview is how many operations the overview shows.
const recentOnOverview = 5

func overviewPage(v *visit) error {
	b, ctx := v.site.broker, v.r.Context()
	found, err := v.site.watch.summarise(ctx, b, v.now)
	if err != nil {
		return err
	}
	o := overview{Stats: b.Stats(), States: found.states, Recent: found.recent, Options: b.Options()}
	o.NoDelivery = o.Options.NoDispatch
	if o.Stats.FileBytes > 0 {
		o.FileShare = int(100 * (o.Stats.FileBytes - o.Stats.FreeBytes) / o.Stats.FileBytes)
	}
	o.Plots = plots(v.site.watch.look(b, v.now), v.now)
	return v.show("overview", "Overview", o)
}

// plots draws what the overview shows of the last two minutes.
func plots(samples []sample, now time.Time) []plot {
	rate := func(of func(*sample) float64) value {
		return func(s *sample) (float64, bool) { return of(s), !s.first }
	}
	size := func(of func(*sample) int) value {
		return func(s *sample) (float64, bool) { return float64(of(s)), true }
	}
	millis := func(of func(*sample) time.Duration) value {
		return func(s *sample) (float64, bool) { return of(s).Seconds() * 1000, s.attempts > 0 }
	}
	list := []plot{
		draw("Attempts", "/s", samples, now, []string{"delivered", "failed"}, []value{
			rate(func(s *sample) float64 { return s.delivered }), rate(func(s *sample) float64 { return s.failed }),
		}),
		draw("Time of an attempt", " ms", samples, now, []string{"median", "p95"}, []value{
			millis(func(s *sample) time.Duration { return s.middle }), millis(func(s *sample) time.Duration { return s.high }),
		}),
		draw("Messages", "", samples, now, []string{"waiting", "in flight"}, []value{
			size(func(s *sample) int { return s.stats.Pending }), size(func(s *sample) int { return s.stats.InFlight }),
		}),
		draw("Commits", "/s", samples, now, []string{"commits"}, []value{
			rate(func(s *sample) float64 { return s.commits }),
		}),
	}
	if list[1].Empty != "" {
		list[1].Empty = "No attempt has ended yet"
	}
	return list
}
