package postgres

import (
	"net"
	"syscall"
	"time"
)

// silence is how long a connection may keep silent that was asked for a sign of life, or
// owes the system one for what was sent: then another is made. Without it calls that have met
// a connection which nobody has ended, as when a firewall forgets it, wait for a quarter of
// an hour.
const silence = 10 * time.Second

// dialer makes connections that the system gives up after that, where it can.
var dialer = net.Dialer{
	KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence, Interval: silence / 2, Count: 3},
	Control: func(network, _ string, c syscall.RawConn) error {
		if network == "unix" {
			return nil
		}
		var err error
		if cannot := c.Control(func(fd uintptr) { err = boundSilence(fd) }); cannot != nil {
			return cannot
		}
		return err
	},
}
