package dashboard

import "testing"

func TestAfterLogin(t *testing.T) {
	for next, want := range map[string]string{
		"":                                   "./",
		"messages":                           "./messages",
		"messages?labels=a&labels=b":         "./messages?labels=a&labels=b",
		"messages/msg_01?x=%0d%0aSet-Cookie": "./messages/msg_01?x=%0D%0ASet-Cookie",
		"messages?a=b#c":                     "./messages?a=b%23c",
		"messages?%zz":                       "./",
		"//elsewhere.example":                "./",
		"https://elsewhere.example/?a=b":     "./",
		"../admin?a=b":                       "./",
	} {
		if got := afterLogin(next); got != want {
			t.Errorf("%q leads to %q, not %q", next, got, want)
		}
	}
}
