package qstash_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/qstash"
)

// signed opens a file whose deliveries go to do.
func signed(t *testing.T, path string, keys *qstash.Keys, do func(*http.Request) (*http.Response, error)) *recall.Broker {
	t.Helper()
	b, err := recall.Open(path, &recall.Options{
		OnRequest: keys.OnRequest, Transport: roundTrip(do), Logger: slog.New(slog.DiscardHandler), Durability: recall.SyncNever,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil && !errors.Is(err, recall.ErrClosed) {
			t.Error(err)
		}
	})
	return b
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody}
}

// claims reads a signature with the key, as a receiver does.
func claims(t *testing.T, signature, key string) map[string]any {
	t.Helper()
	token, err := jwt.Parse(signature, func(*jwt.Token) (any, error) { return []byte(key), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithJSONNumber())
	if err != nil {
		t.Fatalf("%q: %v", signature, err)
	}
	if got, want := token.Header, map[string]any{"alg": "HS256", "typ": "JWT"}; len(got) != 2 || got["alg"] != want["alg"] || got["typ"] != want["typ"] {
		t.Errorf("header: got %v, want %v", got, want)
	}
	return token.Claims.(jwt.MapClaims)
}

func hash(body string) string {
	sum := sha256.Sum256([]byte(body))
	return base64.URLEncoding.EncodeToString(sum[:])
}

// TestSigned looks at what the attempts at two messages, and the callback of one,
// say of themselves. Time is that of a bubble, half a second past the full one.
func TestSigned(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		time.Sleep(500 * time.Millisecond)
		began := time.Now().Unix()
		var got []*http.Request
		keys := qstash.NewKeys("sig_a", "sig_b")
		b := signed(t, filepath.Join(t.TempDir(), "queue.db"), keys, func(r *http.Request) (*http.Response, error) {
			got = append(got, r)
			if len(got) == 1 {
				return respond(500), nil
			}
			return respond(200), nil
		})
		handler := qstash.NewHandler(b, &qstash.Options{Keys: keys})
		const dest = "https://example.com/a//b%2Fc/../?y=%2F+z&x=1"
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, request("POST", "/v2/publish/"+dest, `{"n":1}`, "Upstash-Forward-Upstash-Signature", "forged",
			"Upstash-Failure-Callback", "https://example.com/unused"))
		checkStatus(t, w, 200)
		time.Sleep(time.Minute)
		w = httptest.NewRecorder()
		handler.ServeHTTP(w, request("POST", "/v2/publish/https://example.com/empty", "", "Upstash-Callback", "https://example.com/callback"))
		checkStatus(t, w, 200)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(got) != 4 {
			t.Fatalf("%d requests", len(got))
		}
		callback, err := got[3].GetBody()
		if err != nil {
			t.Fatal(err)
		}
		var about map[string]any
		if err := json.NewDecoder(callback).Decode(&about); err != nil || about["url"] != "https://example.com/empty" {
			t.Errorf("callback: got %v, %v", about, err)
		}
		var ids []any
		for i, want := range []struct {
			url, body string
			after     int64
		}{
			{dest, `{"n":1}`, 0},
			{dest, `{"n":1}`, 12},
			{"https://example.com/empty", "", 60},
			{"https://example.com/callback", bodyOf(t, got[3]), 60},
		} {
			c := claims(t, got[i].Header.Get("Upstash-Signature"), "sig_a")
			ids = append(ids, c["jti"])
			number := func(name string) int64 {
				n, err := c[name].(json.Number).Int64()
				if err != nil {
					t.Errorf("request %d: %s: %v", i, name, err)
				}
				return n
			}
			if c["iss"] != "Upstash" || c["sub"] != want.url || c["body"] != hash(want.body) || number("nbf") != 0 ||
				number("iat") != began+want.after || number("exp") != number("iat")+300 || len(c) != 7 {
				t.Errorf("request %d: got %v, want %+v", i, c, want)
			}
			if len(got[i].Header["Upstash-Signature"]) != 1 {
				t.Errorf("request %d: %v", i, got[i].Header)
			}
		}
		slices.SortFunc(ids, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		if len(slices.Compact(ids)) != 4 {
			t.Errorf("ids: got %v, want four", ids)
		}
	})
}

func bodyOf(t *testing.T, r *http.Request) string {
	t.Helper()
	body, err := r.GetBody()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUnsigned: without keys nothing is signed, and nothing looks as if it were.
func TestUnsigned(t *testing.T) {
	r := httptest.NewRequest("POST", "https://example.com", nil)
	r.Header.Set("Upstash-Signature", "forged")
	if err := qstash.OnRequest(r, &recall.Delivery{}); err != nil || r.Header.Get("Upstash-Signature") != "" {
		t.Errorf("got %v, %v", r.Header, err)
	}
}

// TestKeysWait: what is due when a file is opened is signed with the keys of
// that file, however long it takes to tell them.
func TestKeysWait(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "queue.db")
		keys := qstash.NewKeys("sig_a", "sig_b")
		b := openQuiet(t, path)
		if err := keys.Bind(b); err != nil {
			t.Fatal(err)
		}
		rotated, _, err := keys.Rotate(t.Context())
		if err != nil || rotated != "sig_b" {
			t.Fatalf("got %q, %v", rotated, err)
		}
		if _, err := b.Publish(t.Context(), recall.Message{URL: "https://example.com"}); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		var signature string
		keys = qstash.NewKeys("sig_a", "sig_b")
		b = signed(t, path, keys, func(r *http.Request) (*http.Response, error) {
			signature = r.Header.Get("Upstash-Signature")
			return respond(200), nil
		})
		time.Sleep(10 * time.Second)
		if signature != "" {
			t.Error("it went out before the keys were known")
		}
		qstash.NewHandler(b, &qstash.Options{Keys: keys})
		synctest.Wait()
		claims(t, signature, "sig_b")
	})
}

// TestKeysNotBound tells what is wrong where people look for it.
func TestKeysNotBound(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		b := signed(t, filepath.Join(t.TempDir(), "queue.db"), qstash.NewKeys("a", "b"), func(*http.Request) (*http.Response, error) {
			return respond(200), nil
		})
		if _, err := b.Publish(t.Context(), recall.Message{URL: "https://example.com", Retries: recall.Retries(0)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		var reasons []string
		for d, err := range b.DeadLetters(t.Context(), recall.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, d.Reason)
		}
		if len(reasons) != 1 || !strings.Contains(reasons[0], "Bind") {
			t.Errorf("got %q", reasons)
		}
	})
}

func checkKeys(t *testing.T, keys *qstash.Keys, wantCurrent, wantNext string) {
	t.Helper()
	current, next, err := keys.Get(t.Context())
	if err != nil || current != wantCurrent || next != wantNext {
		t.Errorf("got %q, %q, %v, want %q, %q", current, next, err, wantCurrent, wantNext)
	}
}

// TestRotateStays follows the keys of a file through restarts.
func TestRotateStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "queue.db")
	var b *recall.Broker
	restart := func(current, next string) *qstash.Keys {
		if b != nil {
			if err := b.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b = openQuiet(t, path)
		keys := qstash.NewKeys(current, next)
		if err := keys.Bind(b); err != nil {
			t.Fatal(err)
		}
		return keys
	}
	keys := restart("sig_a", "sig_b")
	w := httptest.NewRecorder()
	qstash.NewHandler(b, &qstash.Options{Keys: keys, Logger: slog.New(slog.DiscardHandler)}).ServeHTTP(w, request("POST", "/v2/keys/rotate", ""))
	checkStatus(t, w, 200)
	got := decode[struct{ Current, Next string }](t, w)
	if got.Current != "sig_b" || len(got.Next) != 32 || !strings.HasPrefix(got.Next, "sig_") {
		t.Fatalf("got %+v", got)
	}
	checkKeys(t, keys, "sig_b", got.Next)
	checkKeys(t, restart("sig_a", "sig_b"), "sig_b", got.Next)
	checkKeys(t, restart("sig_c", "sig_d"), "sig_c", "sig_d") // set on purpose
	keys = restart("sig_a", "sig_b")
	checkKeys(t, keys, "sig_b", got.Next)
	if current, _, err := keys.Rotate(t.Context()); err != nil || current != got.Next {
		t.Errorf("got %q, %v, want %q", current, err, got.Next)
	}
	madeUp := restart("", "")
	current, next, err := madeUp.Get(t.Context())
	if err != nil || current == next || len(current) != 32 || len(next) != 32 {
		t.Fatalf("got %q, %q, %v", current, next, err)
	}
	checkKeys(t, restart("", ""), current, next)
}

// TestRotateInMemory: an engine that keeps nothing for programs forgets.
func TestRotateInMemory(t *testing.T) {
	b, err := recall.New(enginetest.NewReference(), &recall.Options{NoDispatch: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(context.Background())
	keys := qstash.NewKeys("sig_a", "sig_b")
	if err := keys.Bind(b); err != nil {
		t.Fatal(err)
	}
	_, next, err := keys.Rotate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkKeys(t, keys, "sig_b", next)
}

// TestRotateFails: then the keys are as they were.
func TestRotateFails(t *testing.T) {
	b := openQuiet(t, filepath.Join(t.TempDir(), "queue.db"))
	keys := qstash.NewKeys("sig_a", "sig_b")
	if err := keys.Bind(b); err != nil {
		t.Fatal(err)
	}
	checkKeys(t, keys, "sig_a", "sig_b")
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := keys.Rotate(t.Context()); !errors.Is(err, recall.ErrClosed) {
		t.Errorf("got %v", err)
	}
	checkKeys(t, keys, "sig_a", "sig_b")
}

// TestRotateAtOnce: of rotations at the same time none is lost, and who reads
// meanwhile sees a pair that belongs together.
func TestRotateAtOnce(t *testing.T) {
	b := openQuiet(t, filepath.Join(t.TempDir(), "queue.db"))
	keys := qstash.NewKeys("sig_0", "sig_1")
	if err := keys.Bind(b); err != nil {
		t.Fatal(err)
	}
	const each, workers = 20, 4
	var mu sync.Mutex
	nextOf, seen := map[string]string{"sig_0": "sig_1"}, map[string]string{}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				current, next, err := keys.Rotate(t.Context())
				if err != nil {
					t.Error(err)
				}
				readCurrent, readNext, err := keys.Get(t.Context())
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				if nextOf[current] != "" {
					t.Errorf("%q became current twice", current)
				}
				nextOf[current], seen[readCurrent] = next, readNext
				mu.Unlock()
			}
		})
	}
	group.Wait()
	key, n := "sig_0", 0
	for nextOf[key] != "" {
		key = nextOf[key]
		n++
	}
	if n != each*workers+1 {
		t.Errorf("the chain has %d keys, want %d", n, each*workers+1)
	}
	for current, next := range seen {
		if nextOf[current] != next {
			t.Errorf("read %q with %q, want %q", current, next, nextOf[current])
		}
	}
}

func TestBind(t *testing.T) {
	a, b := openQuiet(t, filepath.Join(t.TempDir(), "a.db")), openQuiet(t, filepath.Join(t.TempDir(), "b.db"))
	keys := qstash.NewKeys("x", "y")
	for _, test := range []struct {
		b    *recall.Broker
		want error
	}{{a, nil}, {a, nil}, {b, qstash.ErrKeysBound}} {
		if err := keys.Bind(test.b); !errors.Is(err, test.want) {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
	defer func() {
		p := recover()
		if err, ok := p.(error); !ok || !errors.Is(err, qstash.ErrKeysBound) {
			t.Errorf("got panic %v", p)
		}
	}()
	qstash.NewHandler(b, &qstash.Options{Keys: keys})
}
