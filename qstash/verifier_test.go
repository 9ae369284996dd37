package qstash_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/qstash"
)

// fixedClock stands still.
type fixedClock struct {
	recall.Clock
	now time.Time
}

func (c fixedClock) Now() time.Time { return c.now }

var signedAt = time.Unix(1_700_000_000, 0)

// signature makes one by hand, with claims changed or (nil) left out.
func signature(t *testing.T, key string, method jwt.SigningMethod, changes map[string]any) string {
	t.Helper()
	at := signedAt.Unix()
	c := jwt.MapClaims{
		"iss": "Upstash", "sub": "https://example.com/a", "iat": at, "nbf": 0, "exp": at + 300, "jti": "jwt_1", "body": hash("text"),
	}
	for name, value := range changes {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	var k any = []byte(key)
	if method == jwt.SigningMethodNone {
		k = jwt.UnsafeAllowNoneSignatureType
	}
	text, err := jwt.NewWithClaims(method, c).SignedString(k)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newVerifier(t *testing.T, next string, o qstash.VerifierOptions, after time.Duration) *qstash.Verifier {
	t.Helper()
	o.Clock = fixedClock{now: signedAt.Add(after)}
	v, err := qstash.NewVerifier("sig_a", next, &o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVerify(t *testing.T) {
	hs256 := func(key string, changes map[string]any) string {
		return signature(t, key, jwt.SigningMethodHS256, changes)
	}
	good := hs256("sig_a", nil)
	header, rest, _ := strings.Cut(good, ".")
	payload, mac, _ := strings.Cut(rest, ".")
	other := strings.Split(hs256("sig_a", map[string]any{"sub": "https://example.com/b"}), ".")
	for _, test := range []struct {
		name, signature, body, url string
		after, skew                time.Duration
		want                       error
	}{
		{name: "current key", signature: good},
		{name: "next key", signature: hs256("sig_b", nil)},
		{name: "its URL", signature: good, url: "https://example.com/a"},
		{name: "hash without padding", signature: hs256("sig_a", map[string]any{"body": strings.TrimRight(hash("text"), "=")})},
		{name: "just before it expires", signature: good, after: 299 * time.Second},
		{name: "expired, but within the skew", signature: good, after: 309 * time.Second, skew: 10 * time.Second},
		{name: "the clock of the receiver is behind", signature: good, after: -time.Hour},
		{name: "hosted with a beginning, within the skew", signature: hs256("sig_a", map[string]any{"nbf": signedAt.Unix() + 9}), skew: 10 * time.Second},
		{name: "an audience", signature: hs256("sig_a", map[string]any{"aud": "x"})},

		{name: "none", signature: "", want: qstash.ErrNotSigned},
		{name: "third key", signature: hs256("sig_c", nil), want: qstash.ErrSignature},
		{name: "empty key", signature: hs256("", nil), want: qstash.ErrSignature},
		{name: "another body", signature: good, body: "Text", want: qstash.ErrSignature},
		{name: "no body", signature: good, body: "-", want: qstash.ErrSignature},
		{name: "another URL", signature: good, url: "https://example.com/A", want: qstash.ErrSignature},
		{name: "expired", signature: good, after: 301 * time.Second, want: qstash.ErrSignature},
		{name: "expired by more than the skew", signature: good, after: 311 * time.Second, skew: 10 * time.Second, want: qstash.ErrSignature},
		{name: "before its beginning", signature: hs256("sig_a", map[string]any{"nbf": signedAt.Unix() + 11}), skew: 10 * time.Second, want: qstash.ErrSignature},
		{name: "without expiry", signature: hs256("sig_a", map[string]any{"exp": nil}), want: qstash.ErrSignature},
		{name: "without hash", signature: hs256("sig_a", map[string]any{"body": nil}), want: qstash.ErrSignature},
		{name: "hash of another type", signature: hs256("sig_a", map[string]any{"body": 1}), want: qstash.ErrSignature},
		{name: "hash with more behind", signature: hs256("sig_a", map[string]any{"body": hash("text") + "A"}), want: qstash.ErrSignature},
		{name: "another issuer", signature: hs256("sig_a", map[string]any{"iss": "upstash"}), want: qstash.ErrSignature},
		{name: "without issuer", signature: hs256("sig_a", map[string]any{"iss": nil}), want: qstash.ErrSignature},
		{name: "another method", signature: signature(t, "sig_a", jwt.SigningMethodHS512, nil), want: qstash.ErrSignature},
		{name: "no method", signature: signature(t, "", jwt.SigningMethodNone, nil), want: qstash.ErrSignature},
		{name: "no mac", signature: header + "." + payload + ".", want: qstash.ErrSignature},
		{name: "payload of another", signature: header + "." + other[1] + "." + mac, want: qstash.ErrSignature},
		{name: "no token", signature: "x", want: qstash.ErrSignature},
		{name: "dots", signature: "...", want: qstash.ErrSignature},
		{name: "many dots", signature: strings.Repeat(".", 100_000), want: qstash.ErrSignature},
		{name: "two", signature: good + "," + good, want: qstash.ErrSignature},
		{name: "white space", signature: " " + good, want: qstash.ErrSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := "text"
			switch test.body {
			case "":
			case "-":
				body = ""
			default:
				body = test.body
			}
			v := newVerifier(t, "sig_b", qstash.VerifierOptions{ClockSkew: test.skew}, test.after)
			err := v.Verify(test.signature, []byte(body), test.url)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	v := newVerifier(t, "", qstash.VerifierOptions{}, 0)
	for _, key := range []string{"", "sig_b"} {
		if err := v.Verify(hs256(key, nil), []byte("text"), ""); !errors.Is(err, qstash.ErrSignature) {
			t.Errorf("without a next key, signed with %q: %v", key, err)
		}
	}
}

func TestNewVerifierRefuses(t *testing.T) {
	for name, make := range map[string]func() (*qstash.Verifier, error){
		"no key": func() (*qstash.Verifier, error) { return qstash.NewVerifier("", "sig_b", nil) },
		"negative skew": func() (*qstash.Verifier, error) {
			return qstash.NewVerifier("a", "", &qstash.VerifierOptions{ClockSkew: -1})
		},
		"negative body": func() (*qstash.Verifier, error) {
			return qstash.NewVerifier("a", "", &qstash.VerifierOptions{MaxBody: -1})
		},
	} {
		if v, err := make(); err == nil || v != nil {
			t.Errorf("%s: got %v, %v", name, v, err)
		}
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("cut") }

func TestVerifierHandler(t *testing.T) {
	good := signature(t, "sig_a", jwt.SigningMethodHS256, nil)
	long := signature(t, "sig_a", jwt.SigningMethodHS256, map[string]any{"body": hash("text and more")})
	empty := signature(t, "sig_a", jwt.SigningMethodHS256, map[string]any{"body": hash("")})
	url := func(r *http.Request) string { return "https://example.com" + r.RequestURI }
	for _, test := range []struct {
		name, signature, target string
		body                    io.Reader
		url                     func(*http.Request) string
		status                  int
		want                    string
	}{
		{"good", good, "/x", strings.NewReader("text"), nil, 200, "text"},
		{"empty", empty, "/x", http.NoBody, nil, 200, ""},
		{"nil", empty, "/x", nil, nil, 200, ""},
		{"good URL", good, "/a", strings.NewReader("text"), url, 200, "text"},
		{"wrong URL", good, "/b", strings.NewReader("text"), url, 403, ""},
		{"no URL", good, "/a", strings.NewReader("text"), func(*http.Request) string { return "" }, 403, ""},
		{"not signed", "", "/a", brokenReader{}, nil, 401, ""},
		{"wrong", good + "x", "/a", strings.NewReader("text"), nil, 403, ""},
		{"another body", good, "/a", strings.NewReader("texts"), nil, 403, ""},
		{"too large", long, "/a", strings.NewReader("text and more"), nil, 413, ""},
		{"cut", good, "/a", brokenReader{}, nil, 400, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			called := false
			h := newVerifier(t, "sig_b", qstash.VerifierOptions{URL: test.url, MaxBody: 12}, 0).
				Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					called = true
					got, err := io.ReadAll(r.Body)
					if err != nil || string(got) != test.want {
						t.Errorf("body: got %q, %v, want %q", got, err, test.want)
					}
				}))
			r := httptest.NewRequest("POST", test.target, test.body)
			if test.body == nil {
				r.Body = nil
			}
			if test.signature != "" {
				r.Header.Set("Upstash-Signature", test.signature)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status || called != (test.status == 200) {
				t.Errorf("got %d, called %v, want %d", w.Code, called, test.status)
			}
			if test.status != 200 {
				checkStatus(t, w, test.status)
			}
		})
	}
}

// TestVerifierHearsTheQueue lets a queue and a receiver meet across two
// rotations: with the keys of before it accepts one, and not the second.
func TestVerifierHearsTheQueue(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		keys := qstash.NewKeys("sig_a", "sig_b")
		v, err := qstash.NewVerifier("sig_a", "sig_b", &qstash.VerifierOptions{URL: func(r *http.Request) string { return r.URL.String() }})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var statuses []int
		receiver := v.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		b := signed(t, t.TempDir()+"/queue.db", keys, func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			receiver.ServeHTTP(w, r)
			mu.Lock()
			defer mu.Unlock()
			statuses = append(statuses, w.Code)
			return w.Result(), nil
		})
		if err := keys.Bind(b); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			for _, body := range []string{"", `{"n":1}`} {
				m := recall.Message{URL: "https://example.com/a?x=%20", Body: []byte(body), Retries: recall.Retries(0)}
				if _, err := b.Publish(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Minute)
			if _, _, err := keys.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if got, _ := json.Marshal(statuses); string(got) != "[200,200,200,200,403,403]" {
			t.Errorf("got %s", got)
		}
	})
}
