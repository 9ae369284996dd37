// Package egress decides where deliveries of a [recall.Broker] may go: a
// [Policy] keeps them out of private networks, and a [Route] sends those for one
// host to another address.
//
//	t, err := egress.NewTransport(&egress.Options{Policy: &egress.Policy{
//		Allow: []netip.Prefix{netip.MustParsePrefix("10.20.0.0/16")},
//	}})
//	if err != nil {
//		return nil, err
//	}
//	return recall.Open("queue.db", &recall.Options{Transport: t})
//
// Who may publish chooses the destination, and so would reach whatever the
// process can: databases, admin pages, the metadata service of a cloud. A server
// that publishes for others should have a policy.
//
// The policy looks at the address of each connection when it is made, after the
// name was looked up. A name that resolves to something else than before
// therefore changes nothing, and as a broker follows no redirects, there are no
// other hops. What is refused is a [*RefusedError] wrapped by [recall.Permanent]:
// the message is a dead letter at once, since the next attempt would be refused
// as well.
package egress
