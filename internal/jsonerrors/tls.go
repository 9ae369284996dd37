package jsonerrors

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// TLSListener is [Listener] for HTTPS, with the certificate of web.TLSConfig; web
// serves it with Serve, not with ServeTLS, and HTTP/2 only if web.Protocols or the
// NextProtos of its configuration ask for that.
//
// What net/http writes has to be seen before it is encrypted, but a connection
// that may become one of HTTP/2 has to be a *tls.Conn. So the listener shakes hands
// itself, and hands out the one or the other by the outcome. What net/http
// answers itself over HTTP/2, to headers that are too large or about a connection,
// stays as it is: it is frames that are written there.
func TLSListener(web *http.Server, l net.Listener) net.Listener {
	hook(web)
	web.TLSConfig = withProtocols(web)
	ctx, cancel := context.WithCancel(context.Background())
	return &tlsListener{
		Listener: l, web: web, config: web.TLSConfig, closed: ctx, close: cancel,
		ready: make(chan net.Conn), failed: make(chan error),
	}
}

// withProtocols is web's configuration with the protocols that it may agree on,
// by which net/http knows that it may have to speak HTTP/2.
func withProtocols(web *http.Server) *tls.Config {
	config := web.TLSConfig.Clone()
	if config == nil {
		config = &tls.Config{} // and every handshake says what is missing
	}
	if len(config.NextProtos) > 0 {
		return config
	}
	config.NextProtos = []string{"http/1.1"}
	if web.Protocols != nil && web.Protocols.HTTP2() {
		config.NextProtos = []string{"h2", "http/1.1"}
	}
	return config
}

type tlsListener struct {
	net.Listener
	web    *http.Server
	config *tls.Config
	once   sync.Once
	ready  chan net.Conn // shook hands
	failed chan error    // of Accept
	closed context.Context
	close  context.CancelFunc
}

// Accept implements net.Listener.
func (l *tlsListener) Accept() (net.Conn, error) {
	l.once.Do(func() { go l.accept() })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.failed:
		return nil, err
	case <-l.closed.Done():
		return nil, net.ErrClosed
	}
}

// Close also cuts off who has not shaken hands yet.
func (l *tlsListener) Close() error {
	l.close()
	return l.Listener.Close()
}

// accept goes on until the listener is closed. An error waits for someone to
// hear of it: the server decides what becomes of that.
func (l *tlsListener) accept() {
	for {
		c, err := l.Listener.Accept()
		if err == nil {
			go l.shakeHands(c)
			continue
		}
		select {
		case l.failed <- err:
		case <-l.closed.Done():
			return
		}
	}
}

func (l *tlsListener) shakeHands(below net.Conn) {
	ctx, cancel := l.patience()
	defer cancel()
	secure := tls.Server(below, l.config)
	if err := secure.HandshakeContext(ctx); err != nil {
		l.refuse(below, err)
		return
	}
	var c net.Conn = secure
	if state := secure.ConnectionState(); state.NegotiatedProtocol != "h2" {
		c = &conn{Conn: secure, tls: &state}
	}
	select {
	case l.ready <- c:
	case <-l.closed.Done():
		_ = below.Close() // nobody serves it
	}
}

// patience is as long as the server's own.
func (l *tlsListener) patience() (context.Context, context.CancelFunc) {
	var least time.Duration
	for _, d := range []time.Duration{l.web.ReadHeaderTimeout, l.web.ReadTimeout, l.web.WriteTimeout} {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	if least == 0 {
		return context.WithCancel(l.closed)
	}
	return context.WithTimeout(l.closed, least)
}

// refuse closes a connection on which no hands were shaken. Who speaks HTTP is told.
func (l *tlsListener) refuse(below net.Conn, err error) {
	defer func() { _ = below.Close() }() // there is nothing to lose
	var record tls.RecordHeaderError
	if errors.As(err, &record) && record.Conn != nil && slices.Contains(methods, string(record.RecordHeader[:])) {
		_, _ = below.Write(answer(http.StatusBadRequest, "the server speaks HTTPS, and the request is plain HTTP")) // a courtesy
	}
	if l.closed.Err() != nil {
		return
	}
	logf := log.Printf
	if l.web.ErrorLog != nil {
		logf = l.web.ErrorLog.Printf
	}
	logf("http: TLS handshake error from %s: %v", below.RemoteAddr(), err) // in the words of net/http
}

// methods are the first bytes of a request in plain HTTP, as many as a record of
// TLS has before its contents.
var methods = []string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO"}
