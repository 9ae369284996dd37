package sdk_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/recallmq/recall/qstash"
)

const token = qstash.DevToken

// signed is what a receiver finds in the signature of a delivery.
type signed struct {
	claims map[string]any
	now    float64 // Unix time in seconds when it arrived
}

// receiver has a message delivered, checks its signature as all receivers do,
// hands its claims to what one SDK does besides, and returns the mark.
func receiver(t *testing.T, more func(*testing.T, signed)) mark {
	passed := t.Run("receiver", func(t *testing.T) {
		w := newWorld(t)
		w.t = t
		w.do("POST", "/v2/publish/https://example.com/in?a=b%20c", "grüße")
		a := w.arrived("POST", "/in?a=b%20c", "grüße")
		s := signed{verified(t, a.header.Get("Upstash-Signature")), float64(time.Now().UnixMilli()) / 1000}
		sum := sha256.Sum256([]byte(a.body))
		hash := base64.RawURLEncoding.EncodeToString(sum[:])
		body, _ := s.claims["body"].(string)
		if s.claims["iss"] != "Upstash" || s.claims["sub"] != "https://example.com/in?a=b%20c" || strings.TrimRight(body, "=") != hash {
			t.Errorf("the claims %v", s.claims)
		}
		if s.number(t, "exp") <= s.now {
			t.Error("it has expired")
		}
		more(t, s)
	})
	return mark("").and(map[bool]string{true: "pass", false: "fail"}[passed])
}

// verified checks the signature with the current key and returns the claims.
func verified(t *testing.T, jwt string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		t.Fatalf("Upstash-Signature: %q is no JWT", jwt)
	}
	var head struct{ Alg, Typ string }
	decode(t, parts[0], &head)
	if head.Alg != "HS256" || head.Typ != "JWT" {
		t.Errorf("the header is %+v", head)
	}
	mac := hmac.New(sha256.New, []byte(qstash.DevCurrentSigningKey))
	mac.Write([]byte(parts[0] + "." + parts[1]))
	if want := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); parts[2] != want {
		t.Error("the current key has not signed it")
	}
	decode(t, parts[1], &claims)
	return claims
}

func decode(t *testing.T, part string, v any) {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		t.Fatalf("%v in %s", err, part)
	}
}

func (s signed) has(claim string) bool {
	_, there := s.claims[claim]
	return there
}

func (s signed) needs(t *testing.T, claims ...string) {
	t.Helper()
	for _, name := range claims {
		if !s.has(name) {
			t.Errorf("no claim %s in %v", name, s.claims)
		}
	}
}

func (s signed) number(t *testing.T, claim string) float64 {
	t.Helper()
	n, ok := s.claims[claim].(float64)
	if !ok {
		t.Errorf("%s is %v, want a number", claim, s.claims[claim])
	}
	return n
}
