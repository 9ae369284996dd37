package jsonerrors

import (
	"context"
	"net"
	"net/http"
)

// Listener returns l for web to serve, and changes web's Handler, ConnContext and
// ConnState so that its connections know when a handler has them; what these were
// is called as before. It is called before web serves anything, once for each
// listener.
func Listener(web *http.Server, l net.Listener) net.Listener {
	hook(web)
	return &listener{l}
}

type listener struct{ net.Listener }

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// hook has web tell its connections who writes.
func hook(web *http.Server) {
	if _, hooked := web.Handler.(marking); hooked {
		return
	}
	web.Handler = marking{web.Handler}
	before, state := web.ConnContext, web.ConnState
	web.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if before != nil {
			ctx = before(ctx, c)
		}
		if c, ok := c.(*conn); ok {
			ctx = context.WithValue(ctx, connKey{}, c)
		}
		return ctx
	}
	web.ConnState = func(c net.Conn, s http.ConnState) {
		if c, ok := c.(*conn); ok && s == http.StateIdle {
			c.handling.Store(false) // all of the answer was written
		}
		if state != nil {
			state(c, s)
		}
	}
}

type connKey struct{}

// marking is a handler that takes a connection over. It leaves the writer as it
// is, with all that it can do.
type marking struct{ next http.Handler }

// ServeHTTP implements http.Handler.
func (m marking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.handling.Store(true)
		if r.TLS == nil {
			r.TLS = c.tls // net/http looks for it in a *tls.Conn
		}
	}
	next := m.next
	if next == nil {
		next = http.DefaultServeMux
	}
	next.ServeHTTP(w, r)
}
