package recall

import "context"

type dispatcher struct{}

func startDispatch(b *Broker) *dispatcher      { return &dispatcher{} }
func (d *dispatcher) stop(ctx context.Context) {}
func (d *dispatcher) addTo(s *Stats)           {}

type upkeep struct{}

func startUpkeep(b *Broker) *upkeep { return &upkeep{} }
func (u *upkeep) stop()             {}
