package postgres

import (
	"context"
	"net"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
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

// connect makes a connection as those of the pool are, and is none of them.
func (e *Engine) connect(ctx context.Context) (conn *pgx.Conn, disconnect func(), err error) {
	config := e.pool.Config()
	if config.BeforeConnect != nil {
		if err := config.BeforeConnect(ctx, config.ConnConfig); err != nil {
			return nil, nil, err
		}
	}
	if conn, err = pgx.ConnectConfig(ctx, config.ConnConfig); err != nil {
		return nil, nil, err
	}
	disconnect = func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(closing)
	}
	if config.AfterConnect != nil {
		if err := config.AfterConnect(ctx, conn); err != nil {
			disconnect()
			return nil, nil, err
		}
	}
	return conn, disconnect, nil
}

// acquire takes a connection of the pool.
func (e *Engine) acquire(ctx context.Context) (*pgx.Conn, func(), error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, nil, err
	}
	return conn.Conn(), conn.Release, nil
}
