package dashboard

import (
	"slices"
	"time"

	"github.com/recallmq/recall"
)

// standingRow is a standing cancellation, and whether it takes what arrives.
type standingRow struct {
	recall.StandingCancellation
	InForce bool
}

func standingPage(v *visit) error {
	list, err := v.site.broker.StandingCancellations(v.r.Context())
	if err != nil {
		return err
	}
	slices.Reverse(list)
	rows := make([]standingRow, len(list))
	for i, s := range list {
		rows[i] = standingRow{s, s.Active(v.now)}
	}
	return v.show("standing", "Standing cancellations", struct {
		Rows []standingRow
		Form filterForm
	}{rows, formOf(v.r.Form)})
}

func liftStanding(v *visit) error {
	if err := v.site.broker.LiftCancellation(v.r.Context(), recall.OperationID(v.r.PathValue("id"))); err != nil {
		return err
	}
	return v.done("standing", "lifted")
}

// maxStanding bounds the time of a standing cancellation that is made here.
const maxStanding = 30 * 24 * time.Hour

// stand makes a standing cancellation, of what arrives from now on.
func stand(v *visit) error {
	f, err := filterOf(v.r.PostForm)
	if err != nil {
		return err
	}
	minutes, err := wholeNumber("Minutes", v.r.PostForm.Get("minutes"))
	if err != nil {
		return err
	}
	if minutes < 1 || minutes > int(maxStanding/time.Minute) {
		return badInput("Minutes: from 1 to 43,200, which is 30 days.")
	}
	until := v.now.Add(time.Duration(minutes) * time.Minute)
	if _, err := v.site.broker.CancelFuture(v.r.Context(), f, until, recall.Reason(v.r.PostForm.Get("reason"))); err != nil {
		return err
	}
	return v.done("standing", "stood")
}
