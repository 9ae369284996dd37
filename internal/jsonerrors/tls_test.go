package jsonerrors_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall/internal/jsonerrors"
)

// certificate is one that nobody has to believe.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func dialTLS(p *pipes, protocols ...string) *tls.Conn {
	return tls.Client(p.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
}

// secure is a server that answers with the protocol of the request, and whether
// it was encrypted.
func secure(t *testing.T) *http.Server {
	t.Helper()
	return &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, MaxHeaderBytes: 1000,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS != nil && r.TLS.HandshakeComplete {
				_, _ = io.WriteString(w, r.Proto+" over TLS")
			}
		}),
	}
}

func TestTLSListener(t *testing.T) {
	for _, test := range refused {
		for _, protocols := range [][]string{nil, {"http/1.1"}} {
			inBubble(t, test.name, jsonerrors.TLSListener, secure(t), func(t *testing.T, p *pipes) {
				c := dialTLS(p, protocols...)
				defer c.Close()
				send(c, test.request)
				checkLast(t, bufio.NewReader(c), test.status, test.part)
			})
		}
	}
	inBubble(t, "HTTP/1", jsonerrors.TLSListener, secure(t), func(t *testing.T, p *pipes) {
		c := dialTLS(p)
		defer c.Close()
		r := bufio.NewReader(c)
		for range 2 {
			send(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if _, body := next(t, r); body != "HTTP/1.1 over TLS" {
				t.Errorf("got %q", body)
			}
		}
	})
}

// TestHTTP2 has a client that can speak it, and servers that may and may not.
func TestHTTP2(t *testing.T) {
	one, both := &http.Protocols{}, &http.Protocols{}
	one.SetHTTP1(true)
	both.SetHTTP1(true)
	both.SetHTTP2(true)
	for _, test := range []struct {
		name, want string
		change     func(*http.Server)
	}{
		{"by default", "HTTP/1.1 over TLS", func(*http.Server) {}},
		{"both", "HTTP/2.0 over TLS", func(web *http.Server) { web.Protocols = both }},
		{"asked for", "HTTP/2.0 over TLS", func(web *http.Server) { web.TLSConfig.NextProtos = []string{"h2"} }},
		{"protocols", "HTTP/1.1 over TLS", func(web *http.Server) { web.Protocols = one }},
		{"nothing next", "HTTP/1.1 over TLS", func(web *http.Server) {
			web.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
		}},
	} {
		web := secure(t)
		test.change(web)
		inBubble(t, test.name, jsonerrors.TLSListener, web, func(t *testing.T, p *pipes) {
			transport := &http.Transport{
				ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
				DialContext: func(context.Context, string, string) (net.Conn, error) { return p.dial(), nil },
			}
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport}).Get("https://h.test/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); string(body) != test.want || err != nil {
				t.Errorf("got %q, %v", body, err)
			}
		})
	}
}

// TestHandshake: one that fails, or takes its time, is nobody else's problem.
func TestHandshake(t *testing.T) {
	var text bytes.Buffer
	web := secure(t)
	web.ReadHeaderTimeout, web.WriteTimeout, web.ErrorLog = 5*time.Second, time.Minute, log.New(&text, "", 0)
	inBubble(t, "", jsonerrors.TLSListener, web, func(t *testing.T, p *pipes) {
		silent, start := p.dial(), time.Now()
		plain := p.dial()
		send(plain, "POST /v2/publish/x HTTP/1.1\r\nHost: h\r\n\r\n")
		checkLast(t, bufio.NewReader(plain), 400, "speaks HTTPS")
		noise := p.dial()
		send(noise, "\x00\x01\x02\x03\x04\x05")
		if got, err := io.ReadAll(noise); bytes.HasPrefix(got, []byte("HTTP")) || err != nil {
			t.Errorf("noise: got %q, %v", got, err)
		}
		good := dialTLS(p)
		defer good.Close()
		send(good, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, body := next(t, bufio.NewReader(good)); body != "HTTP/1.1 over TLS" {
			t.Errorf("got %q", body)
		}
		if time.Since(start) != 0 {
			t.Errorf("others waited %v", time.Since(start))
		}
		if _, err := io.ReadAll(silent); err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		synctest.Wait()
		if n := strings.Count(text.String(), "http: TLS handshake error from pipe: "); n != 3 {
			t.Errorf("log: %s", &text)
		}
	})
}

// TestClose cuts off who is shaking hands; a bubble fails a test that leaves a
// goroutine.
func TestClose(t *testing.T) {
	var text bytes.Buffer
	web := secure(t)
	web.ErrorLog = log.New(&text, "", 0)
	inBubble(t, "", jsonerrors.TLSListener, web, func(t *testing.T, p *pipes) {
		c := p.dial()
		synctest.Wait()
		if err := web.Close(); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadAll(c); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if text.Len() > 0 {
			t.Errorf("log: %s", &text)
		}
	})
}

// failing is a listener of which every second call fails.
type failing struct {
	*pipes
	calls int
}

// tooMany is an error after which a server tries again.
type tooMany struct{}

func (tooMany) Timeout() bool   { return false }
func (tooMany) Temporary() bool { return true }
func (tooMany) Error() string   { return "too many open files" }

func (f *failing) Accept() (net.Conn, error) {
	if f.calls++; f.calls%2 == 1 {
		return nil, tooMany{}
	}
	return f.pipes.Accept()
}

// TestAcceptFails: the server hears of it, and goes on.
func TestAcceptFails(t *testing.T) {
	over := func(web *http.Server, l net.Listener) net.Listener {
		return jsonerrors.TLSListener(web, &failing{pipes: l.(*pipes)})
	}
	inBubble(t, "", over, secure(t), func(t *testing.T, p *pipes) {
		for range 2 {
			c := dialTLS(p)
			defer c.Close()
			send(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			if _, body := next(t, bufio.NewReader(c)); body != "HTTP/1.1 over TLS" {
				t.Errorf("got %q", body)
			}
		}
	})
}
