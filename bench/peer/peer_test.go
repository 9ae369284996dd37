package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/internal/parttest"
)

// TestMain leaves no service behind.
func TestMain(m *testing.M) {
	code := m.Run()
	if err := Shutdown(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// contractMessages are published: a tenth of them has each label.
const contractMessages = 1000

// contractCancelled are taken back: half, so that those who finish one message
// per commit have not so many left.
var contractCancelled = []string{Labels[1], Labels[3], Labels[5], Labels[7], Labels[9]}

// TestContract: whoever is measured keeps what it was given, until it is taken
// back or handled, over a close and an open.
func TestContract(t *testing.T) {
	for _, p := range slices.Concat([]*Peer{Recall}, Embedded, Services) {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			if err := Available(p); err != nil {
				parttest.Missing(t, err.Error())
			}
			checkContract(t, p)
		})
	}
}

func checkContract(t *testing.T, p *Peer) {
	dir := serviceDir(t)
	withQueue(t, p, dir, func(q Queue) {
		publishContract(t, q)
		checkCount(t, q, Labels[3], contractMessages/10)
		for _, label := range contractCancelled {
			checkCancel(t, q, label, contractMessages/10)
		}
		checkCancel(t, q, Labels[3], 0)
		checkCount(t, q, Labels[3], 0)
	})
	withQueue(t, p, dir, func(q Queue) {
		checkCount(t, q, Labels[4], contractMessages/10)
		if size, err := q.Size(); err != nil || size < contractMessages*100 {
			t.Errorf("%d bytes for what waits: %v", size, err)
		}
		checkDelivered(t, q)
		if q, ok := q.(Outside); ok && CountsMemory {
			if n, err := q.Memory(); err != nil || n < 1<<20 {
				t.Errorf("the service takes %d bytes: %v", n, err)
			}
		}
	})
	withQueue(t, p, dir, func(q Queue) { checkCount(t, q, Labels[4], 0) })
}

// serviceDir is a folder that a service of another user reaches.
func serviceDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func withQueue(t *testing.T, p *Peer, dir string, fn func(Queue)) {
	t.Helper()
	q, err := p.Open(t.Context(), dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}()
	fn(q)
}

func contractMessage(i int) Message {
	return Message{
		Number: i, URL: URLs[i%len(URLs)], Topic: "topic", Schedule: "schedule", IP: "192.0.2.1",
		Label: Labels[i%10], Body: fmt.Appendf(nil, "%0500d", i),
	}
}

// publishContract publishes some alone, at once from four publishers, the rest
// in a batch, and one for much later.
func publishContract(t *testing.T, q Queue) {
	t.Helper()
	const alone = 40
	var group sync.WaitGroup
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			if err := q.Publish(t.Context(), contractMessage(i)); err != nil {
				t.Error(err)
				return
			}
		}
	}
	for w := range 4 {
		group.Go(func() { publish(w*alone/4, (w+1)*alone/4) })
	}
	group.Wait()
	var batch []Message
	for i := alone; i < contractMessages; i++ {
		batch = append(batch, contractMessage(i))
	}
	if err := q.PublishBatch(t.Context(), batch); isCannot(err) {
		publish(alone, contractMessages)
	} else if err != nil {
		t.Fatal(err)
	}
	later := contractMessage(contractMessages)
	later.Label, later.Due = Aside, time.Now().Add(time.Hour)
	if err := q.Publish(t.Context(), later); err != nil {
		t.Fatal(err)
	}
}

func isCannot(err error) bool {
	var cannot *CannotError
	return errors.As(err, &cannot)
}

func checkCount(t *testing.T, q Queue, label string, want int) {
	t.Helper()
	got, err := q.Count(t.Context(), label)
	if !isCannot(err) && (err != nil || got != want) {
		t.Errorf("counted %d with %s, want %d: %v", got, label, want, err)
	}
}

func checkCancel(t *testing.T, q Queue, label string, want int) {
	t.Helper()
	got, err := q.Cancel(t.Context(), label)
	if err != nil || got != want {
		t.Errorf("cancelled %d with %s, want %d: %v", got, label, want, err)
	}
}

// checkDelivered: everything comes but what was taken back and what is not due.
func checkDelivered(t *testing.T, q Queue) {
	t.Helper()
	want := contractMessages * (10 - len(contractCancelled)) / 10
	var mu sync.Mutex
	seen := map[string]int{}
	all := make(chan struct{})
	stop, err := q.Deliver(func(body []byte) {
		mu.Lock()
		defer mu.Unlock()
		if seen[string(body)]++; len(seen) == want {
			close(all)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	select {
	case <-all:
	case <-ctx.Done():
		t.Error("not everything was delivered in time")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for i := range contractMessages + 1 {
		m := contractMessage(i)
		expected := 1
		if slices.Contains(contractCancelled, m.Label) || i == contractMessages {
			expected = 0
		}
		if got := seen[string(m.Body)]; got != expected {
			t.Fatalf("message %d was delivered %d times, want %d", i, got, expected)
		}
	}
}

// quietly opens peers with a setting that gives durability away.
var quietly = map[string]func(dir string) (Queue, error){
	"Recall that never syncs": func(dir string) (Queue, error) { return openRecallWith(dir, recall.SyncNever) },
	"SQLite with synchronous=NORMAL": func(dir string) (Queue, error) {
		db, err := OpenSQLite(filepath.Join(dir, "q.db"), "synchronous(NORMAL)")
		return closed(db, err)
	},
	"SQLite as it comes": func(dir string) (Queue, error) {
		db, err := sql.Open("sqlite", filepath.Join(dir, "q.db"))
		if err == nil {
			db.SetMaxOpenConns(1)
			err = CheckSQLite(db)
		}
		return closed(db, err)
	},
	"goqite on SQLite with synchronous=OFF": func(dir string) (Queue, error) { return openGoqite(dir, "synchronous(OFF)") },
	"NATS with its default sync interval": func(dir string) (Queue, error) {
		return openNATS(context.Background(), dir, natsSettings{})
	},
	"NATS with a stream that is flushed later": func(dir string) (Queue, error) {
		return openNATS(context.Background(), dir, natsSettings{syncAlways: true, mode: jetstream.AsyncPersistMode})
	},
	"NATS with a stream in memory": func(dir string) (Queue, error) {
		return openNATS(context.Background(), dir, natsSettings{syncAlways: true, storage: jetstream.MemoryStorage})
	},
}

func closed(db *sql.DB, err error) (Queue, error) {
	if db != nil {
		err = errors.Join(err, db.Close())
	}
	return nil, err
}

// quietServices do the same with a service, by its name.
var quietServices = map[string]map[string]func(ctx context.Context, dir string) (Queue, error){
	postgresProgram: {
		"PostgreSQL with an unlogged table": quietPostgres(postgresUnlogged),
		"River on PostgreSQL with fsync off": func(ctx context.Context, dir string) (Queue, error) {
			return openRiverPostgres(ctx, dir, publishersOf(1, "fsync=off"))
		},
		"PostgreSQL with a standby that nobody waits for":                     quietStandby("synchronous_standby_names="),
		"PostgreSQL with a standby and commits that do not wait for it":       quietStandby("synchronous_commit=local"),
		"PostgreSQL with a standby and commits that do not wait for its disk": quietStandby("synchronous_commit=remote_write"),
		"PostgreSQL with a standby that does not sync":                        quietStandby("fsync=off"),
		"PostgreSQL without the standby that it waits for":                    quietPostgres(postgresTable, "synchronous_standby_names=FIRST 1 (b)", "synchronous_commit=local"),
		"Recall on PostgreSQL with full_page_writes off": func(ctx context.Context, dir string) (Queue, error) {
			return openRecallPostgres(ctx, dir, publishersOf(1, "full_page_writes=off"), &recall.Options{})
		},
	},
	redisProgram: {
		"Redis without a log":                   quietRedis("--appendonly", "no"),
		"Redis that syncs each second":          quietRedis("--appendfsync", "everysec"),
		"Redis that does not sync in a rewrite": quietRedis("--no-appendfsync-on-rewrite", "yes"),
	},
}

func quietPostgres(table string, settings ...string) func(context.Context, string) (Queue, error) {
	return func(ctx context.Context, dir string) (Queue, error) {
		return openPostgres(ctx, dir, table, publishersOf(1, settings...))
	}
}

func quietStandby(settings ...string) func(context.Context, string) (Queue, error) {
	return func(ctx context.Context, dir string) (Queue, error) {
		return openPostgres(ctx, dir, postgresTable, PostgresOptions{Connections: 8, Standby: true, settings: settings})
	}
}

func quietRedis(settings ...string) func(context.Context, string) (Queue, error) {
	return func(ctx context.Context, dir string) (Queue, error) { return openAsynq(ctx, dir, 1, settings...) }
}

// TestPostgresSettings: each of those that may be off is found.
func TestPostgresSettings(t *testing.T) {
	if _, err := find(postgresProgram); err != nil {
		parttest.Missing(t, err.Error())
	}
	t.Parallel()
	settings := []string{"fsync", "synchronous_commit", "full_page_writes"}
	var off []string
	for _, s := range settings {
		off = append(off, s+"=off")
	}
	q, err := openPostgres(t.Context(), serviceDir(t), postgresTable, publishersOf(1, off...))
	checkRefused(t, q, err)
	for _, s := range settings {
		if err == nil || !strings.Contains(err.Error(), s+" = off") {
			t.Errorf("the error does not name %s: %v", s, err)
		}
	}
}

// TestQuietServices: the same of those that are started.
func TestQuietServices(t *testing.T) {
	for program, cases := range quietServices {
		if _, err := find(program); err != nil {
			t.Run(program, func(t *testing.T) { parttest.Missing(t, err.Error()) })
			continue
		}
		for name, open := range cases {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				q, err := open(t.Context(), serviceDir(t))
				checkRefused(t, q, err)
			})
		}
	}
}

// TestQuietSettings: what would not sync is refused, and the error says so.
func TestQuietSettings(t *testing.T) {
	for name, open := range quietly {
		t.Run(name, func(t *testing.T) {
			q, err := open(t.TempDir())
			checkRefused(t, q, err)
		})
	}
}

func checkRefused(t *testing.T, q Queue, err error) {
	t.Helper()
	if q != nil {
		defer q.Close()
	}
	var quiet *NotDurableError
	if !errors.As(err, &quiet) {
		t.Errorf("got %v, want a *NotDurableError", err)
	}
}

// onPostgres opens a peer on a PostgreSQL for the test.
func onPostgres(t *testing.T, p *Peer, standby bool) PostgresQueue {
	t.Helper()
	if err := Available(p); err != nil {
		parttest.Missing(t, err.Error())
	}
	q, err := p.OpenOn(t.Context(), serviceDir(t), PostgresOptions{Connections: 16, Standby: standby})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

// TestClaims: workers claim each message that is due once, forget it, and then find
// nothing left.
func TestClaims(t *testing.T) {
	left := map[*Peer]string{
		RecallPostgres: `SELECT count(*) FROM recall.messages`,
		PostgresByHand: `SELECT count(*) FROM messages`,
		RiverPostgres:  `SELECT count(*) FROM river_job WHERE state <> 'completed'`,
	}
	for _, p := range OnPostgres {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			q := onPostgres(t, p, false)
			const workers = 4 // each has a queue of its own with River, the labels from the second on
			var batch []Message
			for i := range 400 {
				m := contractMessage(i)
				m.URL, m.Label = "https://hook.example", Labels[1+i%workers]
				batch = append(batch, m)
			}
			later := batch[0]
			later.Due = time.Now().Add(time.Hour)
			if err := q.PublishBatch(t.Context(), append(batch, later)); err != nil {
				t.Fatal(err)
			}
			var claimed, told atomic.Int64
			claims, err := q.Claim(workers, 7, func(n int, took time.Duration) {
				claimed.Add(int64(n))
				if took > 0 {
					told.Add(1)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			// A worker of River may be done before the others.
			for dry := false; !dry || claimed.Load() < int64(len(batch)); {
				if dry, err = claims.Dry(ctx); err != nil {
					t.Fatalf("after %d claims: %v", claimed.Load(), err)
				}
				time.Sleep(time.Millisecond)
			}
			if err := claims.Stop(); err != nil {
				t.Error(err)
			}
			if got := claimed.Load(); got != int64(len(batch)) {
				t.Errorf("claimed %d, want %d", got, len(batch))
			}
			if (told.Load() > 0) != (p != RiverPostgres) {
				t.Errorf("told how long %d claims took", told.Load())
			}
			conn, err := pgx.Connect(t.Context(), q.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(context.Background())
			var rows int
			if err := conn.QueryRow(t.Context(), left[p]).Scan(&rows); err != nil || rows != 1 {
				t.Errorf("%d rows are left, want the one that is not due: %v", rows, err)
			}
		})
	}
}

// TestStandbyLost: a standby that no longer follows is found when somebody looks again.
func TestStandbyLost(t *testing.T) {
	q := onPostgres(t, PostgresByHand, true)
	if err := q.Durable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.(*postgresQueue).pair.Detach(); err != nil {
		t.Fatal(err)
	}
	var quiet *NotDurableError
	for deadline := time.Now().Add(time.Minute); !errors.As(q.Durable(t.Context()), &quiet); {
		if time.Now().After(deadline) {
			t.Fatal("a primary without its standby counts as durable")
		}
		time.Sleep(time.Millisecond)
	}
}
