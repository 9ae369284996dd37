package egress

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/recallmq/recall"
)

// Options configure a [Transport]. Nil options are all defaults.
type Options struct {
	// Slots should be that of the broker's options. Default 64.
	Slots int
	// Policy is what addresses are held against. Default none: everything may be
	// connected to.
	Policy *Policy
	// Routes are looked through in order, and the first that matches counts.
	Routes []Route
}

// Transport makes the requests of deliveries, for recall.Options.Transport. It
// is safe for concurrent use.
//
// With a policy it goes to no proxy, whatever HTTP_PROXY says: nobody could see
// where a proxy connects to. Without one it follows HTTP_PROXY. The target of a
// route is held against no policy, and is never asked for through a proxy.
type Transport struct {
	direct *http.Transport
	routed *http.Transport
	routes []parsedRoute
}

// NewTransport returns a transport, or an error that names every bad route.
func NewTransport(o *Options) (*Transport, error) {
	if o == nil {
		o = &Options{}
	}
	slots := o.Slots
	if slots <= 0 {
		slots = recall.DefaultSlots
	}
	t := &Transport{direct: recall.NewTransport(slots), routed: recall.NewTransport(slots)}
	t.routed.Proxy = nil
	if o.Policy != nil {
		t.direct.Proxy = nil
		dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive, Control: o.Policy.Control}
		t.direct.DialContext = dialer.DialContext
	}
	var faults []error
	for _, r := range o.Routes {
		p, err := r.parse()
		if err != nil {
			faults = append(faults, fmt.Errorf("route %q: %w", r.From+"="+r.To, err))
		}
		t.routes = append(t.routes, p)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return t, nil
}

const (
	dialTimeout = 30 * time.Second
	keepAlive   = 30 * time.Second
)

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if len(t.routes) > 0 {
		at := originOf(r.URL)
		for _, route := range t.routes {
			if route.from == at {
				return t.routed.RoundTrip(route.rerouted(r))
			}
		}
	}
	return t.direct.RoundTrip(r)
}

// CloseIdleConnections closes what no request uses at the moment.
func (t *Transport) CloseIdleConnections() {
	t.direct.CloseIdleConnections()
	t.routed.CloseIdleConnections()
}
