package qstash

import (
	"strings"

	"github.com/recallmq/recall"
)

// setCallbacks reads who is told of attempts, and of the end of the message.
func (h *handler) setCallbacks(s settings) func(*recall.Message) error {
	return func(m *recall.Message) (err error) {
		if m.Callback, err = h.callback(s, "Callback"); err != nil {
			return err
		}
		m.FailureCallback, err = h.callback(s, "Failure-Callback")
		return err
	}
}

// callback reads the destination that a setting names, and the settings whose
// names begin with its name: they are those of a message, for the callback. So
// are its own callbacks. Without a destination there is nothing to configure.
func (h *handler) callback(s settings, name string) (c *recall.Callback, err error) {
	dest := s.get(name)
	if dest == "" {
		return nil, nil
	}
	if !isURL(dest) && (!h.o.AllowLocal || !strings.HasPrefix(dest, "local:")) {
		return nil, badRequest("%s%s: %.100q is not an http or https URL", prefix, name, dest)
	}
	var m recall.Message
	own := s.below(name + "-")
	for _, set := range []func(*recall.Message) error{own.setTimes, own.setRetries} {
		if err := set(&m); err != nil {
			return nil, badRequest("of %s%s: %v", prefix, name, err)
		}
	}
	c = &recall.Callback{
		URL: dest, Method: strings.ToUpper(own.get("Method")), Header: own.forwarded(false),
		Retries: m.Retries, RetryDelay: m.RetryDelay, Timeout: m.Timeout, Delay: m.Delay,
	}
	if c.Callback, err = h.callback(s, name+"-Callback"); err != nil {
		return nil, err
	}
	c.FailureCallback, err = h.callback(s, name+"-Failure-Callback")
	return c, err
}

// below returns the settings whose names begin with one, without it.
func (s settings) below(name string) settings {
	lower := strings.ToLower(prefix)
	return settings{
		header:   below(s.header, prefix, name),
		query:    below(s.query, lower, strings.ToLower(name)),
		defaults: below(s.defaults, prefix, name),
	}
}

func below(given map[string][]string, prefix, name string) map[string][]string {
	cut := map[string][]string{}
	for key, values := range given {
		if rest, ok := strings.CutPrefix(key, prefix+name); ok {
			cut[prefix+rest] = values
		}
	}
	return cut
}
