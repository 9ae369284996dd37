package recall

// hintSpreader takes the engine's hints that something may be claimable, which
// has one taker, and passes each on to all who wait for that: the dispatcher,
// and the calls of Receive.
type hintSpreader struct {
	broker   *Broker
	dispatch chan struct{} // one hint
	quit     chan struct{} // closed by stop
	done     chan struct{} // closed when loop has ended
}

func newHintSpreader(b *Broker) *hintSpreader {
	return &hintSpreader{
		broker:   b,
		dispatch: make(chan struct{}, 1),
		quit:     make(chan struct{}),
		done:     make(chan struct{}),
	}
}

func (h *hintSpreader) loop() {
	defer close(h.done)
	claimable := h.broker.engine.Hints().Claim
	for {
		select {
		case <-h.quit:
			return
		case <-claimable:
			hint(h.dispatch)
			h.broker.consumers.hinted()
			h.broker.objectsHinted()
		}
	}
}

func (h *hintSpreader) stop() {
	close(h.quit)
	<-h.done
}
