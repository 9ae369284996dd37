package recall

// awaited are the messages whose attempts bulk cancellations wait for, with how many of them
// do. When the attempt ends such a message may be pending, and due at once; nobody claims it
// before those who have waited for it had their look. Without that a message that is tried
// again and again would always be in flight when they look.
type awaited map[uint64]int

// endOf returns a channel that is closed when the attempt of a message is over, nil if that
// is so already. The message is not claimed again until letGo.
func (c *bulk) endOf(seq uint64) <-chan struct{} {
	e := c.e
	e.mu.Lock()
	defer e.mu.Unlock()
	l := e.leases[seq]
	if l == nil {
		return nil
	}
	e.awaited[seq]++
	c.awaits = seq
	return e.endedLocked(l)
}

// letGo lets the message be claimed that was waited for: it was marked, if it was to be.
func (c *bulk) letGo() {
	seq := c.awaits
	if seq == 0 {
		return
	}
	c.awaits = 0
	if c.e.letGo(seq) {
		hint(c.e.claimHint)
	}
}

func (e *embedded) letGo(seq uint64) (claimable bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.awaited[seq]--; e.awaited[seq] > 0 {
		return false
	}
	delete(e.awaited, seq)
	_, en := e.live.lookup(seq)
	if !en.exists() || en.phase != phasePending || en.mark != 0 {
		return false
	}
	e.queueLocked(en, seq) // a claim may have passed it over
	e.openedLocked()
	return true
}
