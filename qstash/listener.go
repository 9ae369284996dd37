package qstash

import (
	"net"
	"net/http"

	"github.com/recallmq/recall/internal/jsonerrors"
)

// Listener returns l for web to serve, so that every error of web's is JSON: also
// those that net/http answers itself, in plain text, because the request is
// malformed or its headers are too large, and no handler gets to see it. Their
// status stays.
//
//	web := &http.Server{Addr: address, Handler: qstash.NewHandler(b, opts)}
//	l, err := net.Listen("tcp", address)
//	…
//	return web.Serve(qstash.Listener(web, l))
//
// It wraps web's Handler, ConnContext and ConnState. Call it before web serves, once
// for each listener. It changes no answer of a handler's, whatever that handler is.
func Listener(web *http.Server, l net.Listener) net.Listener { return jsonerrors.Listener(web, l) }

// TLSListener is [Listener] for HTTPS, with the certificate of web.TLSConfig. It is
// for web.Serve, too, and takes the place of web.ServeTLS. Clients speak HTTP/1.1;
// with HTTP/2 in web.Protocols, or in NextProtos of web.TLSConfig, they may speak that
// as well. There, answers of net/http's own stay as they are, which are few: headers
// that are too large (431), or of a connection (400).
func TLSListener(web *http.Server, l net.Listener) net.Listener {
	return jsonerrors.TLSListener(web, l)
}
