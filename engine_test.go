package recall_test

import (
	"testing"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
)

func TestReference(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Harness {
		r := enginetest.NewReference()
		return enginetest.Harness{
			Engine: r,
			Reopen: func(bool) (recall.Engine, error) {
				r = r.Reopen()
				return r, nil
			},
			Check: func() error { return r.Check() },
		}
	})
}
