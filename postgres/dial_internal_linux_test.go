package postgres

import (
	"net"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestSilentConnection: the system gives up connections on which nothing is acknowledged.
func TestSilentConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	config, err := pgxpool.ParseConfig("postgres://u@127.0.0.1/d")
	if err != nil {
		t.Fatal(err)
	}
	watchSilence(config)
	if config.PingTimeout != silence {
		t.Errorf("a connection may take %v to answer", config.PingTimeout)
	}
	conn, err := config.ConnConfig.DialFunc(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := 0
	if cannot := raw.Control(func(fd uintptr) { got, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout) }); cannot != nil || err != nil {
		t.Fatal(cannot, err)
	}
	if got != int(silence.Milliseconds()) {
		t.Errorf("it gives up after %d ms", got)
	}
}
