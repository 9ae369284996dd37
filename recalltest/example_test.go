package recalltest_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/recalltest"
)

// t stands for the *testing.T of a test: examples have none.
var t example

type example struct{}

func (example) Helper()                           {}
func (example) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (example) Cleanup(f func())                  { cleanups = append(cleanups, f) }

var cleanups []func()

func end() {
	for _, f := range cleanups {
		f()
	}
	cleanups = nil
}

// post publishes as the program under test would: with an HTTP client, an address
// and a token.
func post(client *http.Client, url, token, dest, body string, headers ...string) {
	r, err := http.NewRequest(http.MethodPost, url+"/v2/publish/"+dest, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(r)
	if err != nil {
		fmt.Println("publish:", err)
		return
	}
	defer resp.Body.Close()
	fmt.Println("publish:", resp.StatusCode)
}

func programUnderTest(url, token string) {
	post(http.DefaultClient, url, token, "https://api.example.com/hook", "hi")
}

// An endpoint that fails twice: an hour and some retries later the message is
// delivered.
func Example() {
	defer end()
	s := recalltest.New(t)
	s.Endpoint("https://api.example.com/hook").Respond(503, 503, 200)
	programUnderTest(s.URL, s.Token) // it publishes to that address
	s.Advance(time.Hour)
	s.CheckDelivered(t, recalltest.Message{URL: "https://api.example.com/hook", Attempts: 3})
	s.CheckNothingElse(t)
	// Output:
	// publish: 200
}

// In a testing/synctest bubble the queue lives in the time of the program under
// test, and there are no sockets.
func ExampleBubble() {
	_ = func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := recalltest.New(t, recalltest.Bubble())
			hook := s.Endpoint("https://api.example.com/hook")
			post(s.Client(), s.URL, s.Token, "https://api.example.com/hook", "hi", "Upstash-Delay", "1h")
			time.Sleep(2 * time.Hour) // or s.Advance(2 * time.Hour)
			if got := len(hook.Requests()); got != 1 {
				t.Errorf("got %d requests", got)
			}
		})
	}
}

// The program under test receives what it has published: its handler stands in for
// the address that it gives out.
func ExampleEndpoint_Handle() {
	defer end()
	s := recalltest.New(t, recalltest.NoListener())
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("delivered to", r.Host, r.URL.Path)
	})
	s.Endpoint("https://app.example.com").Handle(app)
	post(s.Client(), s.URL, s.Token, "https://app.example.com/hooks/7", "hi", "Upstash-Delay", "1s")
	s.Advance(time.Second)
	// Output:
	// publish: 200
	// delivered to app.example.com /hooks/7
}

// What a check says that fails.
func ExampleServer_CheckDelivered() {
	defer end()
	s := recalltest.New(t, recalltest.Seed(1))
	s.Endpoint("https://api.example.com/hook").Respond(503)
	programUnderTest(s.URL, s.Token)
	s.CheckDelivered(t, recalltest.Message{URL: "https://api.example.com/hook", Body: "hello"})
	// Output:
	// publish: 200
	// recalltest: a message that should have been delivered was not
	//   the most alike (- wanted, + there): msg_01KDVDNA0000000000067WYJMP POST https://api.example.com/hook "hi": waits until 2026-01-01 00:00:12.000, attempts: 503
	//     URL "https://api.example.com/hook"
	//   - Body "hello"
	//   + Body "hi"
}

// A bulk cancellation, counted by the filter that it should have had.
func ExampleServer_CheckCancelled() {
	defer end()
	s := recalltest.New(t)
	for _, order := range []string{"order-7", "order-7", "order-8"} {
		post(http.DefaultClient, s.URL, s.Token, "https://shop.example.com/remind", "", "Upstash-Delay", "1d", "Upstash-Label", order)
	}
	r, err := http.NewRequest(http.MethodDelete, s.URL+"/v2/messages?label=order-7", nil)
	if err != nil {
		panic(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	s.CheckCancelled(t, recall.Filter{Labels: []string{"order-7"}}, 2)
	s.CheckCancelled(t, recall.Filter{Labels: []string{"order-8"}}, 0)
	// Output:
	// publish: 200
	// publish: 200
	// publish: 200
}

// An answer that is lost: the program cannot know that the message was published.
func ExampleServer_LoseNext() {
	defer end()
	s := recalltest.New(t, recalltest.NoListener())
	s.Endpoint("https://api.example.com")
	s.LoseNext(recalltest.CallPublish, 1)
	for range 2 { // it tries again
		post(s.Client(), s.URL, s.Token, "https://api.example.com/hook", "hi", "Upstash-Deduplication-Id", "1")
	}
	s.CheckDelivered(t, recalltest.Message{Body: "hi"})
	s.CheckNothingElse(t)
	// Output:
	// publish: Post "http://recall.test/v2/publish/https://api.example.com/hook": EOF
	// publish: 202
}

// The state to begin with, written down, and what became of it.
func ExampleServer_Load() {
	defer end()
	s := recalltest.New(t, recalltest.Seed(1))
	err := s.Load(strings.NewReader(`{
		"messages":  [{"url": "https://api.example.com/hook", "body": "hi", "delay": "1h", "labels": ["a"]}],
		"schedules": [{"id": "daily", "cron": "0 8 * * *", "message": {"url": "https://api.example.com/report"}}]
	}`))
	if err != nil {
		panic(err)
	}
	s.Endpoint("https://api.example.com/")
	s.Advance(24 * time.Hour)
	for _, d := range s.Deliveries() {
		fmt.Println(d.At.Format(time.DateTime), d.URL, d.Status)
	}
	// Output:
	// 2026-01-01 01:00:00 https://api.example.com/hook 200
	// 2026-01-01 08:00:00 https://api.example.com/report 200
}

// A suite in another language, as a child process: it finds the server by its
// environment.
func ExampleServer_Env() {
	_ = func(t *testing.T) {
		s := recalltest.New(t)
		cmd := exec.Command("npm", "test")
		cmd.Env = append(os.Environ(), s.Env()...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}
