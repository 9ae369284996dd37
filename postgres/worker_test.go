//go:build unix

package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/recallmq/recall"
	"github.com/recallmq/recall/enginetest"
	"github.com/recallmq/recall/postgres"
)

// workerEnv has a process that runs this binary be a worker, as it says.
const workerEnv = "RECALL_TEST_WORKER"

// job is what a worker is told.
type job struct {
	DSN, Schema string
	Ticks       string // the file with the counter
	Client      int    // the first number of its clients
	Seed        uint64
}

const (
	workerLease   = time.Second
	workerClients = 3 // of one process, that meet in its engine
)

func init() {
	work = func() bool {
		text := os.Getenv(workerEnv)
		if text == "" {
			return false
		}
		var j job
		err := json.Unmarshal([]byte(text), &j)
		if err == nil {
			err = j.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return true
	}
}

// run works until there is nothing to be read any more, or the process is killed.
func (j *job) run() error {
	tick, err := openTicks(j.Ticks)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	e := j.open(ctx)
	if e == nil {
		return nil
	}
	var lines sync.Mutex
	out := json.NewEncoder(os.Stdout)
	log := func(d enginetest.Deed) error {
		lines.Lock()
		defer lines.Unlock()
		return out.Encode(d)
	}
	errs := make([]error, workerClients)
	var all sync.WaitGroup
	for i := range errs {
		w := j.client(e, i)
		w.Tick, w.Log = tick, log
		all.Go(func() { errs[i] = w.Run(ctx) })
	}
	all.Wait()
	epoch, err := postgres.Epoch(context.Background(), e)
	if err == nil {
		err = log(enginetest.Deed{Began: tick(), Verb: enginetest.DeedEnd, Epoch: epoch})
	}
	return errors.Join(append(errs, err, e.Close())...)
}

// open tries until there is a server. It returns nil if the context is done before.
func (j *job) open(ctx context.Context) *postgres.Engine {
	for ctx.Err() == nil {
		e, err := postgres.Open(ctx, j.DSN, &postgres.Options{
			AllowUnsafe: true, Schema: j.Schema, LeaseTime: workerLease, PollInterval: 10 * time.Millisecond, ChunkSize: 7,
		})
		if err == nil {
			return e
		}
		time.Sleep(serverPause)
	}
	return nil
}

// serverPause is how long a worker waits when the server does not answer.
const serverPause = 20 * time.Millisecond

func (j *job) client(e recall.Engine, i int) *enginetest.Worker {
	return &enginetest.Worker{
		Engine: e, Client: j.Client + i, Rand: rand.New(rand.NewPCG(j.Seed, uint64(i))), Now: time.Now,
		Failed: func(error) { time.Sleep(serverPause) },
	}
}

// openTicks opens a counter that several processes move on, in a file of eight bytes. What
// one process does after another has read a number bears a larger one, whatever their clocks
// say.
func openTicks(path string) (tick func() int64, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mapped, err := syscall.Mmap(int(f.Fd()), 0, 8, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	n := (*int64)(unsafe.Pointer(&mapped[0]))
	return func() int64 { return atomic.AddInt64(n, 1) }, nil
}

// newTicks makes such a file.
func newTicks(t *testing.T) (path string) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "ticks")
	if err == nil {
		_, err = f.Write(make([]byte, 8))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
