package egress

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Route sends what is meant for one host to another address. The request stays
// what it was: path, query, the Host header and the signature are those of the
// destination. Only where the connection goes, and whether it is encrypted,
// follows To; over https the certificate must be one for the host of To.
type Route struct {
	// From is scheme, host and port of destinations, such as
	// "https://api.example.com". Without a port it is that of the scheme. The
	// host matches in any letter case.
	From string
	// To is where they go instead, of the same form.
	To string
}

// ParseRoute reads "FROM=TO", such as
// "https://api.example.com=http://127.0.0.1:3000".
func ParseRoute(text string) (Route, error) {
	from, to, ok := strings.Cut(text, "=")
	if !ok {
		return Route{}, fmt.Errorf("egress: %q is no route: it is like https://api.example.com=http://127.0.0.1:3000", text)
	}
	r := Route{From: from, To: to}
	_, err := r.parse()
	return r, err
}

// origin is a scheme and a host with a port, in lower case.
type origin struct{ scheme, host string }

// parsedRoute is a Route that has been checked.
type parsedRoute struct {
	from   origin
	scheme string
	host   string // of To, as it was written
}

func (r Route) parse() (parsedRoute, error) {
	from, err := parseOrigin(r.From)
	if err != nil {
		return parsedRoute{}, err
	}
	to, err := parseOrigin(r.To)
	if err != nil {
		return parsedRoute{}, err
	}
	return parsedRoute{originOf(from), strings.ToLower(to.Scheme), to.Host}, nil
}

func parseOrigin(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("egress: %q is no address of a server: %w", text, err)
	case !isHTTP(u.Scheme) || u.Hostname() == "":
		return nil, fmt.Errorf("egress: %q is no address of a server: it begins with http:// or https:// and a host", text)
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, fmt.Errorf("egress: %q is more than the address of a server: scheme, host and port", text)
	}
	return u, nil
}

func isHTTP(scheme string) bool {
	return strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
}

func originOf(u *url.URL) origin {
	scheme, port := strings.ToLower(u.Scheme), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return origin{scheme, net.JoinHostPort(strings.ToLower(u.Hostname()), port)}
}

// rerouted returns a copy of r that goes elsewhere. A RoundTripper may not
// change what it is given.
func (p parsedRoute) rerouted(r *http.Request) *http.Request {
	c := r.WithContext(r.Context()) // a shallow copy: headers and body are not changed
	if c.Host == "" {
		c.Host = r.URL.Host
	}
	u := *r.URL
	u.Scheme, u.Host = p.scheme, p.host
	c.URL = &u
	return c
}
