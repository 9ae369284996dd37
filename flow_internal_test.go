package recall

import "testing"

// TestOlderFlowSettings reads what files said before the parts of a limit could
// be pinned one by one.
func TestOlderFlowSettings(t *testing.T) {
	for text, want := range map[string]FlowSettings{
		`{"limit":{"rate":3},"pinned":true}`:    {Limit: FlowLimit{Rate: 3}, PinnedRate: true, PinnedParallelism: true},
		`{"limit":{"rate":3}}`:                  {Limit: FlowLimit{Rate: 3}},
		`{"limit":{},"pinnedRate":true}`:        {PinnedRate: true},
		`{"limit":{"rate":3},"paused":"often"}`: {},
		``:                                      {},
	} {
		if got := flowSettings([]byte(text)); got != want {
			t.Errorf("%s: got %+v, want %+v", text, got, want)
		}
	}
}
