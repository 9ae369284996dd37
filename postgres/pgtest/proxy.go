package pgtest

import (
	"bytes"
	"encoding/binary"
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
	CutBefore     // the server does not see the request
	CutAfter      // the server has answered it, the client does not hear of it
)

// Proxy stands between a program and a server and can lose a connection at the worst
// time: during a commit, or at any request.
type Proxy struct {
	listener net.Listener
	network  string
	target   string
	cut      atomic.Int32
	wg       sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn
	requests int        // until at is called
	at       func() Cut // nil: it was
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

// At has f called when the n-th request from now on, counted from 1, has come and before
// the server sees it, and do what f says. A request is what waits for an answer: a
// statement, or several that are sent together. It takes the place of what was asked for
// before; nil asks for nothing.
func (p *Proxy) At(n int, f func() Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.at = n, f
}

// Pending tells whether a cut has not happened yet, or a request has not come.
func (p *Proxy) Pending() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cut.Load() != int32(CutNever) || p.at != nil
}

// decide says what becomes of what a client says.
func (p *Proxy) decide(text []byte, requests int) Cut {
	if bytes.Contains(text, commit) {
		for _, where := range []Cut{CutBefore, CutAfter} {
			if p.cut.CompareAndSwap(int32(where), int32(CutNever)) {
				return where
			}
		}
	}
	if f := p.count(requests); f != nil {
		return f()
	}
	return CutNever
}

// count returns what is to be called, if that is now.
func (p *Proxy) count(requests int) (f func() Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.requests -= requests; p.requests <= 0 {
		f, p.at = p.at, nil
	}
	return f
}

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
	frames         frames
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
		switch c.p.decide(buffer[:n], c.frames.requests(buffer[:n])) {
		case CutBefore:
			_, _ = c.server.Close(), c.client.Close()
			return
		case CutAfter:
			c.deaf.Store(true)
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

// frames tells the messages of a client apart: a type, but for the first, a length, and as
// much.
type frames struct {
	begun bool
	head  []byte // of the message that is not whole yet
	skip  int    // of its body
}

// The types of messages after which a client waits.
const (
	typeQuery = 'Q'
	typeSync  = 'S'
)

// requests returns how many messages are begun in text after which the client waits.
func (f *frames) requests(text []byte) (n int) {
	for len(text) > 0 {
		if f.skip > 0 {
			some := min(f.skip, len(text))
			f.skip, text = f.skip-some, text[some:]
			continue
		}
		f.head, text = append(f.head, text[0]), text[1:]
		size := 4
		if f.begun {
			size = 5
		}
		if len(f.head) < size {
			continue
		}
		if f.begun && (f.head[0] == typeQuery || f.head[0] == typeSync) {
			n++
		}
		f.skip = int(binary.BigEndian.Uint32(f.head[size-4:])) - 4
		f.begun, f.head = true, nil
	}
	return n
}
