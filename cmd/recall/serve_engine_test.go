package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/recallmq/recall/postgres/pgtest"
)

// databaseSecret is a password in the address of the database. The server of the test
// asks for none.
const databaseSecret = "hush-hush-7"

// engineAddress is a queue of its own on the server of the tests.
func engineAddress(t *testing.T) string {
	t.Helper()
	dsn, schema := pgtest.Schema(t)
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		t.Skip("the address in RECALL_TEST_PG_DSN is no URL")
	}
	q := u.Query()
	q.Set("schema", schema)
	if q.Get("password") == "" && u.User == nil {
		q.Set("password", databaseSecret)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// startOn runs recall serve on a database, until the test ends.
func startOn(t *testing.T, address string, args ...string) (p *program, url string) {
	t.Helper()
	args = append([]string{"serve", "--token", "secret", "--listen", "127.0.0.1:0", "--allow-private", "--engine-lease", "1s", "--engine-unsafe"}, args...)
	p, err := startProgram(t.TempDir(), append(os.Environ(), "RECALL_ENGINE="+address), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	m, err := p.await(regexp.MustCompile(`running at (http://\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	return p, m[1]
}

// arrivals is an endpoint that notes what has come.
type arrivals struct {
	mu  sync.Mutex
	ids map[string]int
}

func (a *arrivals) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids[r.Header.Get("Upstash-Message-Id")]++
}

// missing is how many of the ids have not come.
func (a *arrivals) missing(ids []string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range ids {
		if a.ids[id] == 0 {
			n++
		}
	}
	return n
}

var messageIDText = regexp.MustCompile(`msg_[0-9A-Z]{26}`)

// publishThrough publishes until it is told to stop or the server is gone, and returns
// what was acknowledged.
func publishThrough(server, endpoint string, stop <-chan struct{}) (ids []string) {
	for {
		select {
		case <-stop:
			return ids
		default:
		}
		status, text, err := send("POST", server+"/v2/publish/"+endpoint, "secret", "hello")
		if err != nil || status != 200 {
			return ids
		}
		ids = append(ids, messageIDText.FindString(text))
	}
}

// TestServersOnOneQueue publishes through two servers on one database, of which one is
// killed in the middle: what was acknowledged arrives.
func TestServersOnOneQueue(t *testing.T) {
	address := engineAddress(t)
	a := &arrivals{ids: map[string]int{}}
	endpoint := httptest.NewServer(a)
	defer endpoint.Close()
	first, firstURL := startOn(t, address)
	second, secondURL := startOn(t, address)

	keys := map[string]bool{}
	for _, server := range []string{firstURL, secondURL} {
		status, text, err := send("GET", server+"/v2/keys", "secret", "")
		if status != 200 || err != nil {
			t.Fatal(status, text, err)
		}
		keys[text] = true
	}
	if len(keys) != 1 {
		t.Errorf("the servers have other signing keys: %v", keys)
	}

	stop := make(chan struct{})
	var group sync.WaitGroup
	acknowledged := make([][]string, 4)
	for i := range acknowledged {
		server := []string{firstURL, secondURL}[i%2]
		group.Go(func() { acknowledged[i] = publishThrough(server, endpoint.URL, stop) })
	}
	time.Sleep(time.Second) // of traffic
	first.kill()
	time.Sleep(time.Second)
	close(stop)
	group.Wait()
	var ids []string
	for _, list := range acknowledged {
		if len(list) == 0 {
			t.Error("a server has taken nothing")
		}
		ids = append(ids, list...)
	}
	for deadline := time.Now().Add(patienceOfTests); a.missing(ids) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of %d messages have not arrived:\n%s", a.missing(ids), len(ids), second.output())
		}
	}
	t.Logf("%d messages", len(ids))
	if status, text, err := send("GET", secondURL+"/readyz", "", ""); status != 200 || err != nil {
		t.Errorf("got %d %s, %v", status, text, err)
	}
	if status, err := second.stop(os.Interrupt); status != 0 || err != nil {
		t.Errorf("got exit status %d, %v", status, err)
	}
	for _, p := range []*program{first, second} {
		if out := p.output(); strings.Contains(out, databaseSecret) {
			t.Errorf("the password is in the log:\n%s", out)
		}
	}
}

// databases are the addresses of a queue that is spread over two servers of its own.
func databases(t *testing.T) (addresses []string) {
	t.Helper()
	for range 2 {
		addresses = append(addresses, pgtest.Pooled(pgtest.Private(t).DSN())+"&password="+databaseSecret)
	}
	return addresses
}

// TestCommandsOnEngine asks a server on a database everything that the command line and
// the dashboard have.
func TestCommandsOnEngine(t *testing.T) { commandsOn(t, engineAddress(t)) }

// TestCommandsOnDatabases does so where the queue is spread over two.
func TestCommandsOnDatabases(t *testing.T) {
	addresses := databases(t)
	commandsOn(t, strings.Join(addresses, " "), "--engine-shards", "5")
	// Where each call goes that may go anywhere is the next place, unless that is in trouble:
	// which a server may seem to be that waits for a busy machine.
	messages := 0
	for i, address := range addresses {
		n, err := strconv.Atoi(pgtest.Ask(t, address, `SELECT count(*) FROM recall.messages`))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("database %d has %d messages", i, n)
		messages += n
		if n := pgtest.Ask(t, address, `SELECT shards FROM recall.meta`); n != "5" {
			t.Errorf("database %d knows %s shards", i, n)
		}
	}
	if messages != 9 {
		t.Errorf("the databases have %d messages, want 9", messages)
	}
}

// commandsOn runs a server on addresses as in RECALL_ENGINE.
func commandsOn(t *testing.T, address string, args ...string) {
	t.Helper()
	server, url := startOn(t, address, append(args, "--dashboard", "/dashboard", "--metrics-addr", "127.0.0.1:0")...)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := exec.Command(self, append(args, "--url", url, "--token", "secret")...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, _ := cmd.CombinedOutput() // the status says it
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: got exit status %d, want %d:\n%s", args, got, want, out)
		}
		return string(out)
	}
	for range 3 {
		run(0, "publish", "https://example.com/hook", "--delay", "1h", "--label", "x", "--queue", "mail")
	}
	for range 6 {
		run(0, "publish", "https://example.com/anywhere", "--delay", "1h")
	}
	run(0, "topics", "add", "orders", "https://example.com/a")
	run(0, "schedules", "set", "daily", "--cron", "0 9 * * *", "https://example.com/daily")
	for _, test := range []struct{ command, want string }{
		{"count --label x", "3 pending"},
		{"ls --label x", "example.com"},
		{"stats", "pending               9"},
		{"top --once", "mail"},
		{"explain --label x", "label"},
		{"queues", "mail"},
		{"topics", "orders"},
		{"schedules", "daily"},
		{"dlq", ""},
		{"flow", ""},
		{"events", "created"},
		{"hold --label x --yes", "3"},
		{"release --label x --yes", "3"},
		{"cancellations", "hold"},
	} {
		if out := run(0, strings.Fields(test.command)...); !strings.Contains(out, test.want) {
			t.Errorf("recall %s: got %q, want %q in it", test.command, out, test.want)
		}
	}
	out := run(0, "cancel", "--label", "x", "--yes")
	op := regexp.MustCompile(`op_[0-9A-Z]{26}`).FindString(out)
	run(0, "restore", op)
	if out := run(1, "backup", t.TempDir()+"/copy.db"); !strings.Contains(out, "a backup is a copy of a file") {
		t.Errorf("got %q", out)
	}
	for _, command := range []string{"check", "compact"} {
		cmd := exec.Command(self, command, strings.Fields(address)[0])
		cmd.Env = append(os.Environ(), asProgram+"=1")
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "is for files") || strings.Contains(string(out), databaseSecret) {
			t.Errorf("recall %s: %v, %q", command, err, out)
		}
	}
	checkPages(t, url)
	metrics, err := server.await(regexp.MustCompile(`address=(127\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	status, text, err := send("GET", "http://"+metrics[1]+"/metrics", "", "")
	if status != 200 || err != nil || !strings.Contains(text, "recall_") || strings.Contains(text, databaseSecret) {
		t.Errorf("metrics: got %d, %v", status, err)
	}
}

// checkPages opens every page of the dashboard.
func checkPages(t *testing.T, server string) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.PostForm(server+"/dashboard/login", url.Values{"token": {"secret"}})
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	for _, page := range []string{"", "messages", "bulk", "queues", "topics", "schedules", "flow", "dead", "events", "operations"} {
		req, err := http.NewRequest("GET", server+"/dashboard/"+page, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range resp.Cookies() {
			req.AddCookie(c)
		}
		got, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(got.Body)
		_ = got.Body.Close()
		if got.StatusCode != 200 || err != nil || strings.Contains(string(text), "cannot do that") {
			t.Errorf("/dashboard/%s: got %d, %v:\n%.2000s", page, got.StatusCode, err, text)
		}
	}
}

// TestEngineFlags: what is wrong with an address is said without it.
func TestEngineFlags(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/empty", "# nothing\n")
	writeFile(t, dir+"/good", "postgres://u:"+databaseSecret+"@127.0.0.1:1/d\n")
	writeFile(t, dir+"/same.json", `{"users": [
		{"name": "a", "tokens": ["1"], "engine": "postgres://x:`+databaseSecret+`@h/d?schema=s"},
		{"name": "b", "tokens": ["2"], "engine": "postgres://y@h:5432/d?schema=s"}]}`)
	writeFile(t, dir+"/two", "postgres://u:"+databaseSecret+"@127.0.0.1:1/a\n# b\npostgres://u:"+databaseSecret+"@127.0.0.1:1/b\n")
	writeFile(t, dir+"/overlap.json", `{"users": [
		{"name": "a", "tokens": ["1"], "engine": ["postgres://x:`+databaseSecret+`@h/d", "postgres://x@i/d"]},
		{"name": "b", "tokens": ["2"], "engine": "postgres://y@i:5432/d?schema=recall"}]}`)
	writeFile(t, dir+"/few.json", `{"users": [{"name": "a", "tokens": ["1"], "engine": ["postgres://h/d", "postgres://i/d"], "engineShards": 1}]}`)
	writeFile(t, dir+"/many.json", `{"users": [{"name": "a", "tokens": ["1"], "engine": "postgres://h/d", "engineShards": 300}]}`)
	writeFile(t, dir+"/none.json", `{"users": [{"name": "a", "tokens": ["1"], "engineShards": 3}]}`)
	writeFile(t, dir+"/object.json", `{"users": [{"name": "a", "tokens": ["1"], "engine": {"url": "`+databaseSecret+`"}}]}`)
	writeFile(t, dir+"/both.json", `{"users": [{"name": "a", "tokens": ["1"], "engine": "postgres://h/d", "engineFile": "good"}]}`)
	writeFile(t, dir+"/half.json", `{"users": [{"name": "a", "tokens": ["1"], "engine": "postgres://h/d"}, {"name": "b", "tokens": ["2"]}]}`)
	for _, test := range []struct {
		status int
		want   string
		args   []string
	}{
		{2, "--db and --engine exclude each other", []string{"--db", "q.db", "--engine", "postgres://h/d"}},
		{2, "--engine and --engine-file exclude each other", []string{"--engine", "postgres://h/d", "--engine-file", "f"}},
		{2, "begins with postgres://", []string{"--engine", "mysql://u:" + databaseSecret + "@h/d"}},
		{2, "cannot be read", []string{"--engine", "postgres://u:" + databaseSecret + "%zz@h/d"}},
		{2, "the schema \"a-b\"", []string{"--engine", "postgres://u:" + databaseSecret + "@h/d?schema=a-b"}},
		{2, "nothing else", []string{"--engine-file", dir + "/empty"}},
		{1, "127.0.0.1:1", []string{"--engine-file", dir + "/good"}},
		{2, "neither --db nor --engine", []string{"--users", dir + "/same.json", "--engine", "postgres://h/d"}},
		{2, `user "a" has the same queue`, []string{"--users", dir + "/same.json"}},
		{2, "exclude each other", []string{"--users", dir + "/both.json"}},
		{2, "--users needs --data", []string{"--users", dir + "/half.json"}},
		{2, "a file or a database", nil},
		{2, "postgres://h:5432/d?schema=recall is there twice", []string{"--engine", "postgres://a:" + databaseSecret + "@h/d", "--engine", "postgres://b@h:5432/d?schema=recall"}},
		{2, "2 shards cannot be on 3 databases", []string{"--engine", "postgres://h/d", "--engine", "postgres://i/d", "--engine", "postgres://j/d", "--engine-shards", "2"}},
		{2, "0 is not between 1 and 256", []string{"--engine", "postgres://h/d", "--engine-shards", "0"}},
		{2, "257 is not between 1 and 256", []string{"--engine", "postgres://h/d", "--engine-shards", "257"}},
		{2, "begins with postgres://", []string{"--engine", "postgres://h/d", "--engine", "i"}},
		{2, "one name in all of them", []string{"--engine", "postgres://h/d?schema=a", "--engine", "postgres://i/d?schema=b"}},
		{1, "open postgres://127.0.0.1:1/a?schema=recall, postgres://127.0.0.1:1/b?schema=recall", []string{"--engine-file", dir + "/two"}},
		{2, "--engine-shards goes with --engine", []string{"--db", "q.db", "--engine-shards", "3"}},
		{2, "--engine-listen goes with --engine", []string{"--db", "q.db", "--engine-listen"}},
		{2, "--engine-lease goes with --engine", []string{"--db", "q.db", "--engine-lease", "3s"}},
		{2, "--engine-unsafe goes with --engine", []string{"--db", "q.db", "--engine-unsafe"}},
		{2, `user "a" has the same queue, postgres://i:5432/d?schema=recall`, []string{"--users", dir + "/overlap.json"}},
		{2, "1 shards cannot be on 2 databases", []string{"--users", dir + "/few.json"}},
		{2, "300 is not between 1 and 256", []string{"--users", dir + "/many.json"}},
		{2, "engineShards goes with an engine", []string{"--users", dir + "/none.json"}},
		{2, "an address, or a list of addresses", []string{"--users", dir + "/object.json"}},
		{2, "neither --db nor --engine", []string{"--users", dir + "/few.json", "--engine-shards", "4"}},
	} {
		args := append([]string{"serve", "--listen", "127.0.0.1:0"}, test.args...)
		if !strings.Contains(fmt.Sprint(args), "--users") {
			args = append(args, "--token", "secret")
		}
		p, err := startProgram(dir, append(os.Environ(), "RECALL_ENGINE="), args...)
		if err != nil {
			t.Fatal(err)
		}
		status, err := p.end()
		if out := p.output(); err != nil || status != test.status || !strings.Contains(out, test.want) || strings.Contains(out, databaseSecret) {
			t.Errorf("%v: got %d, %v, want %d and %q:\n%s", test.args, status, err, test.status, test.want, out)
		}
	}
}

// TestEngineListens: with the flag a server listens in each database, and without it in
// none.
func TestEngineListens(t *testing.T) {
	addresses := databases(t)
	for _, test := range []struct {
		want string
		args []string
	}{{"0", nil}, {"1", []string{"--engine-listen"}}} {
		file := t.TempDir() + "/engine"
		writeFile(t, file, strings.Join(addresses, "\n"))
		server, url := startOn(t, "", append(test.args, "--engine-file", file)...)
		for i, address := range addresses {
			ask := func() string {
				return pgtest.Ask(t, address, `SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen%'`)
			}
			for deadline := time.Now().Add(patienceOfTests); ask() != test.want; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%v: %s connections listen in database %d, want %s", test.args, ask(), i, test.want)
				}
			}
		}
		if status, text, err := send("GET", url+"/readyz", "", ""); status != 200 || err != nil {
			t.Errorf("got %d %s, %v", status, text, err)
		}
		if status, err := server.stop(os.Interrupt); status != 0 || err != nil {
			t.Errorf("got exit status %d, %v:\n%s", status, err, server.output())
		}
	}
}

// TestUserOnDatabases has a user of the file whose queue is spread over two.
func TestUserOnDatabases(t *testing.T) {
	addresses, dir := databases(t), t.TempDir()
	writeFile(t, dir+"/users.json", fmt.Sprintf(`{"users": [{"name": "shop", "tokens": ["secret"], "engine": [%q, %q], "engineShards": 7}]}`, addresses[0], addresses[1]))
	p, err := startProgram(dir, append(os.Environ(), "RECALL_ENGINE="), "serve", "--users", "users.json", "--listen", "127.0.0.1:0", "--engine-unsafe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	m, err := p.await(regexp.MustCompile(`running at (http://\S+)`))
	if err != nil {
		t.Fatal(err)
	}
	if status, text, err := send("POST", m[1]+"/v2/publish/https://example.com/?upstash-delay=1h", "secret", "hello"); status != 200 || err != nil {
		t.Errorf("got %d %s, %v", status, text, err)
	}
	for i, address := range addresses {
		if n := pgtest.Ask(t, address, `SELECT shards FROM recall.meta`); n != "7" {
			t.Errorf("database %d knows %s shards, want 7", i, n)
		}
	}
	if out := p.output(); strings.Contains(out, databaseSecret) {
		t.Errorf("the password is in the log:\n%s", out)
	}
}
