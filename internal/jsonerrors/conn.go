// Package jsonerrors gives the answers that net/http makes itself the form that
// clients of a JSON API read. A request that cannot be parsed, or whose headers
// are too large, reaches no handler: net/http writes a line of plain text onto
// the connection and closes it. [Listener] wraps connections so that this becomes
// {"error": …} with the same status.
//
// Whose bytes a write has is not guessed from them. A connection knows when one of
// its requests is with the handler, from when that is called until the server says
// that the connection is idle again, and everything in between is passed through.
// What the server writes at other times is its own.
package jsonerrors

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
)

// conn is a connection of an HTTP/1 server. Deadlines are those of the connection
// below.
type conn struct {
	net.Conn
	tls      *tls.ConnectionState // nil: it is not encrypted
	handling atomic.Bool          // a request is with the handler, or its answer on the way; stays true when it was hijacked
	answered bool                 // the error was sent, and the connection will be closed
}

// Write passes on what a handler writes, and puts JSON in the place of an error of
// the server's.
func (c *conn) Write(p []byte) (int, error) {
	if c.handling.Load() {
		return c.Conn.Write(p)
	}
	if c.answered {
		return len(p), nil // the rest of what was replaced
	}
	text, ok := inJSON(p)
	if !ok {
		return c.Conn.Write(p)
	}
	c.answered = true
	if _, err := c.Conn.Write(text); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadFrom is what net/http sends files by. The connection below may have the
// system do it.
func (c *conn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite lets the client read an answer to a request that it is still sending.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// NetConn returns the connection below, for handlers that hijack this one.
func (c *conn) NetConn() net.Conn { return c.Conn }
