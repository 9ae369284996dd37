package pgtest

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Cut says where a [Proxy] cuts a connection.
type Cut int32

// The places of a cut.
const (
	CutNever  Cut = iota
	CutBefore     // the server does not see the COMMIT
	CutAfter      // the server has answered it, the client does not hear of it
)

// Proxy stands between a program and a server and can lose a connection at the worst
// time: during a commit.
type Proxy struct {
	listener net.Listener
	network  string
	target   string
	cut      atomic.Int32
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
}

// NewProxy starts a proxy in front of the server of a DSN, and returns the DSN that
// goes through it, bounded as that of Schema. It ends with the test.
func NewProxy(t testing.TB, dsn string) (*Proxy, string) {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{}
	port := strconv.Itoa(int(config.Port))
	p.network, p.target = "tcp", net.JoinHostPort(config.Host, port)
	if filepath.IsAbs(config.Host) {
		p.network, p.target = "unix", filepath.Join(config.Host, ".s.PGSQL."+port)
	}
	dir, err := os.MkdirTemp("", "recall-proxy-")
	if err != nil {
		t.Fatal(err)
	}
	if p.listener, err = net.Listen("unix", filepath.Join(dir, ".s.PGSQL.5432")); err != nil {
		t.Fatal(err)
	}
	go p.serve()
	t.Cleanup(func() {
		p.stop()
		_ = os.RemoveAll(dir)
	})
	return p, Pooled("host=" + dir + " port=5432 sslmode=disable user=" + config.User + " password='" + config.Password + "' dbname=" + config.Database)
}

// CutNext cuts the next connection that commits, once.
func (p *Proxy) CutNext(where Cut) { p.cut.Store(int32(where)) }

// Pending tells whether the cut has not happened yet.
func (p *Proxy) Pending() bool { return p.cut.Load() != int32(CutNever) }

func (p *Proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial(p.network, p.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		c := &proxied{p: p, client: client, server: server}
		p.wg.Go(c.up)
		p.wg.Go(c.down)
	}
}

func (p *Proxy) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
}

// proxied is one connection.
type proxied struct {
	p              *Proxy
	client, server net.Conn
	deaf           atomic.Bool // what the server answers is not passed on
}

var commit = []byte("commit\x00")

// up passes on what the client says.
func (c *proxied) up() {
	buffer := make([]byte, 1<<16)
	for {
		n, err := c.client.Read(buffer)
		if err != nil {
			_ = c.server.Close()
			return
		}
		if bytes.Contains(buffer[:n], commit) {
			switch {
			case c.p.cut.CompareAndSwap(int32(CutBefore), int32(CutNever)):
				_, _ = c.server.Close(), c.client.Close()
				return
			case c.p.cut.CompareAndSwap(int32(CutAfter), int32(CutNever)):
				c.deaf.Store(true)
			}
		}
		if _, err := c.server.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// down passes on what the server says.
func (c *proxied) down() {
	buffer := make([]byte, 1<<16)
	for {
		n, err := c.server.Read(buffer)
		if err != nil || c.deaf.Load() {
			_, _ = c.server.Close(), c.client.Close()
			return
		}
		if _, err := c.client.Write(buffer[:n]); err != nil {
			return
		}
	}
}
