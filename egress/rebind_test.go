package egress_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/recallmq/recall/egress"
)

// TestRebinding has a name that resolves to an allowed address first and to
// another one later, which is how a name server gets a client to where it may
// not go.
func TestRebinding(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs all of 127.0.0.0/8")
	}
	names := &nameServer{addr: [4]byte{127, 0, 0, 2}}
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: names.dial}
	defer func() { net.DefaultResolver = before }()

	s := newServer(t, func(h http.Handler) *httptest.Server {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(h)
		s.Listener = l
		s.Start()
		return s
	})
	url := "http://rebind.test" + s.URL[strings.LastIndexByte(s.URL, ':'):]
	tr := newTransport(t, &egress.Options{Policy: &egress.Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}}})
	if got, err := get(t, tr, url); err != nil || !strings.Contains(got, "hello") {
		t.Fatalf("got %q, %v", got, err)
	}
	names.addr = [4]byte{127, 0, 0, 1}
	tr.CloseIdleConnections()
	var refused *egress.RefusedError
	if got, err := get(t, tr, url); !errors.As(err, &refused) || refused.Addr.String() != "127.0.0.1" {
		t.Errorf("got %q, %v", got, err)
	}
}

// nameServer answers each question for an address of IPv4 with addr, and any
// other with nothing.
type nameServer struct{ addr [4]byte }

func (n *nameServer) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe() // no packets, so each message follows its length
	go n.answer(server)
	return client, nil
}

func (n *nameServer) answer(c net.Conn) {
	defer c.Close()
	size := make([]byte, 2)
	if _, err := io.ReadFull(c, size); err != nil {
		return
	}
	q := make([]byte, binary.BigEndian.Uint16(size))
	if _, err := io.ReadFull(c, q); err != nil {
		return
	}
	const header = 12
	end := header
	for q[end] != 0 { // the labels of the name
		end += int(q[end]) + 1
	}
	end += 5 // the last label, type and class
	a := append([]byte{q[0], q[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, q[header:end]...)
	if q[end-3] == 1 { // type A
		a[7] = 1
		a = append(a, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		a = append(a, n.addr[:]...)
	}
	_, _ = c.Write(binary.BigEndian.AppendUint16(nil, uint16(len(a))))
	_, _ = c.Write(a)
}
