package dashboard

import "github.com/recallmq/recall"

// countedKeys bounds the flow keys of which the page counts what waits.
const countedKeys = 100

// flowRow is a key of flow control; Waiting is -1 where nobody has counted.
type flowRow struct {
	recall.FlowState
	Waiting int
}

func flowPage(v *visit) error {
	b, ctx := v.site.broker, v.r.Context()
	list, err := b.FlowKeys(ctx)
	if err != nil {
		return err
	}
	rows := make([]flowRow, len(list))
	for i, s := range list {
		rows[i] = flowRow{s, -1}
		if i < countedKeys {
			c, err := b.Count(ctx, recall.Filter{FlowKeys: []string{s.Key}, States: []recall.State{recall.StateFlowWaiting}})
			if err != nil {
				return err
			}
			rows[i].Waiting = c.Pending
		}
	}
	return v.show("flow", "Flow keys", rows)
}

func changeFlow(v *visit) error {
	b := v.site.broker
	if v.r.PostForm.Get("do") != "reset" {
		return v.pauseOrResume("flow", b.PauseFlow, b.ResumeFlow)
	}
	if err := b.ResetFlow(v.r.Context(), v.r.PostForm.Get("name")); err != nil {
		return err
	}
	return v.done("flow", "reset")
}
