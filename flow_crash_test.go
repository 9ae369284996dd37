package recall_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/recallmq/recall"
)

// flowStory works on an engine with one flow-control key at a time that stands
// still but where the test moves it.
type flowStory struct {
	*testing.T
	e    recall.Engine
	path string
	now  time.Time
}

func newFlowStory(t *testing.T) *flowStory {
	s := &flowStory{T: t, path: filepath.Join(t.TempDir(), "q.db"), now: storyBase}
	s.open()
	return s
}

func (s *flowStory) open() {
	s.Helper()
	e, err := recall.OpenEngine(s.path, &recall.Options{Durability: recall.SyncNever, Logger: quietLogger})
	if err != nil {
		s.Fatal(err)
	}
	s.e = e
	s.Cleanup(func() { _ = e.Close() })
}

// crash goes on with the file as a kill at this moment would leave it.
func (s *flowStory) crash() {
	s.Helper()
	left := filepath.Join(s.TempDir(), "left.db")
	copyFile(s.T, s.path, left)
	s.path = left
	s.open()
}

func (s *flowStory) publish(n int, l recall.FlowLimit) {
	s.Helper()
	for range n {
		m := storyMessage("m", s.now)
		m.FlowKey, m.Flow = "k", &l
		if _, err := s.e.Insert(s.Context(), []recall.Message{m}, s.now); err != nil {
			s.Fatal(err)
		}
	}
}

func (s *flowStory) set(l recall.FlowLimit) {
	s.Helper()
	value, err := json.Marshal(recall.FlowSettings{Limit: l, PinnedRate: true})
	if err != nil {
		s.Fatal(err)
	}
	change := recall.Change{Objects: []recall.Object{{Kind: recall.ObjectFlow, Name: "k", Value: value}}, Now: s.now}
	if _, err := s.e.(recall.Keeper).Apply(s.Context(), change); err != nil {
		s.Fatal(err)
	}
}

// wantClaims claims all that may begin.
func (s *flowStory) wantClaims(n int) {
	s.Helper()
	got, err := s.e.Claim(s.Context(), recall.ClaimRequest{Max: 100, Now: s.now})
	if err != nil {
		s.Fatal(err)
	}
	if len(got.Leases) != n {
		s.Errorf("claimed %d, want %d", len(got.Leases), n)
	}
}

// TestLongerPeriodCrash: what was used under a short period, which is in no file,
// counts in the long one that it becomes, whenever the process is killed.
func TestLongerPeriodCrash(t *testing.T) {
	short := recall.FlowLimit{Rate: 40, Period: time.Second}
	long := recall.FlowLimit{Rate: 40, Period: time.Hour}
	changes := map[string]func(*flowStory){
		"settings": func(s *flowStory) { s.set(long) },
		"message":  func(s *flowStory) { s.publish(1, long) },
		"unlimited between": func(s *flowStory) {
			s.set(recall.FlowLimit{Parallelism: 1000})
			s.set(long)
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			s := newFlowStory(t)
			s.publish(25, short)
			s.wantClaims(25)
			change(s)
			s.crash()
			s.publish(60, long)
			s.now = s.now.Add(time.Minute)
			s.wantClaims(15)
			s.now = s.now.Add(time.Hour)
			s.wantClaims(40)
		})
	}
}

// TestLongerPeriodReserves: attempts that begin after the change are reserved from
// where the short period was.
func TestLongerPeriodReserves(t *testing.T) {
	s := newFlowStory(t)
	s.publish(20, recall.FlowLimit{Rate: 64, Period: time.Second})
	s.wantClaims(20)
	long := recall.FlowLimit{Rate: 64, Period: time.Hour}
	s.publish(1, long)
	s.wantClaims(1) // reserves a sixteenth, of which it uses one
	s.crash()
	s.publish(100, long)
	s.now = s.now.Add(time.Minute)
	s.wantClaims(64 - 21 - 4)
}
