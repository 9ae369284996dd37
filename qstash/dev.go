package qstash

// What a local QStash is known by: the SDKs connect to it with no settings.
// These are public. A server that others can reach needs a token of its own.
const (
	DevToken             = "eyJVc2VySUQiOiJkZWZhdWx0VXNlciIsIlBhc3N3b3JkIjoiZGVmYXVsdFBhc3N3b3JkIn0="
	DevCurrentSigningKey = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
	DevNextSigningKey    = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
)

// DevUser is one of the users that a local QStash has.
type DevUser struct {
	Name, Token                       string
	CurrentSigningKey, NextSigningKey string
}

// DevUsers returns the four users of a local QStash, which are public. The first
// is that of [DevToken].
func DevUsers() []DevUser {
	return []DevUser{
		{"defaultUser", DevToken, DevCurrentSigningKey, DevNextSigningKey},
		{
			"testUser1", "eyJVc2VySUQiOiJ0ZXN0VXNlcjEiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
			"sig_7GVPjvuwsfqF65iC8fSrs1dfYruM", "sig_5NoELc3EFnZn4DVS5bDs2Nk4b7Ua",
		},
		{
			"testUser2", "eyJVc2VySUQiOiJ0ZXN0VXNlcjIiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
			"sig_6jWGaWRxHsw4vMSPJprXadyvrybF", "sig_7qHbvhmahe5GwfePDiS5Lg3pi6Qx",
		},
		{
			"testUser3", "eyJVc2VySUQiOiJ0ZXN0VXNlcjMiLCJQYXNzd29yZCI6InRlc3RQYXNzd29yZCJ9",
			"sig_5T8FcSsynBjn9mMLBsXhpacRovJf", "sig_7GFR4YaDshFcqsxWRZpRB161jguD",
		},
	}
}
