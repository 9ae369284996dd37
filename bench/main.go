// Command bench measures Recall against the bare machine it runs on: the same
// disk, the same loopback, in the same run. What it prints are ratios; the
// absolute numbers beside them are only as good as the machine was quiet.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// workload is one part of a run. Each is a file of its own.
type workload struct {
	name string
	what string
	run  func(*bench) error
}

// workloads are run in this order: the limits come first, so that the reader
// knows the machine before the numbers.
var workloads = []workload{
	{"calibrate", "what the machine can do: fsync, bbolt, WAL, HTTP", calibrate},
	{"open", "open a file with N waiting; memory per message", benchOpen},
	{"count", "count matches at N", benchCount},
	{"growth", "what publish, cancel, count, claim and open cost in files of several sizes", benchGrowth},
	{"cancel", "bulk cancel, what others notice of it, and the sweep after it", benchCancel},
	{"undo", "restore a bulk cancellation", benchUndo},
	{"scale", "bulk cancel of a thousandth to all, against one sync and against SQLite", benchScale},
	{"publish", "durable publish against a WAL with the same records", benchPublish},
	{"deliver", "publish and deliver at once", benchDeliver},
	{"drain", "deliver what was preloaded, in both orders of due times", benchDrain},
	{"due", "how late messages are when many fall due at once", benchDue},
	{"fifo", "deliver from queues, one message at a time", benchFIFO},
	{"events", "publish and deliver with and without the log of events", benchEvents},
	{"http", "deliver over HTTP against a bare POST loop", benchHTTP},
	{"wire", "publish and cancel over HTTP with wrk, against the library without HTTP", benchWire},
	{"peer-publish", "durable publish, beside other queues", benchPeerPublish},
	{"peer-deliver", "publish all and then deliver all, beside other queues", benchPeerDeliver},
	{"peer-waiting", "open, room, count and bulk cancel with N waiting, beside other queues", benchPeerWaiting},
	{"peer-due", "much due at one instant, and a thousand a second, beside other queues", benchPeerDue},
	{postgresWord, "publish, claim and cancel on PostgreSQL: Recall, by hand and River, without and with a standby", benchPostgres},
}

type flags struct {
	n            int
	reps         int
	quick        bool
	scaleLarge   bool
	growth       growthSizes
	peers        int
	full         bool
	services     bool
	beside       []string
	only         string
	dir          string
	json         string
	html         string
	cpuProfile   string
	memProfile   string
	mutexProfile string
	profiles     string
}

func parseFlags(args []string, out io.Writer) (f flags, err error) {
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(out)
	set.IntVar(&f.n, "n", 0, "waiting messages in the big file, and in each queue of postgres (default 1,000,000; with -quick 100,000)")
	set.IntVar(&f.reps, "reps", 0, "how often each measurement is repeated (default 1, and 2 beside other queues; with -quick 1)")
	set.BoolVar(&f.quick, "quick", false, "small sizes: some minutes, and noisier")
	set.BoolVar(&f.scaleLarge, "scale-large", false, "let scale also cancel a fiftieth of 5n messages, and growth go on to 5n: many minutes, 20 GB")
	set.Var(&f.growth, "growth", "comma list of the sizes of growth (default 10000,100000,1000000; with -quick the first two)")
	set.IntVar(&f.peers, "peers", 0, "waiting messages in each of the queues beside Recall, and of postgres if there is no -n (default 100,000; with -quick 5,000)")
	set.BoolVar(&f.full, "full", false, "let the workloads with other queues keep 1,000,000 messages: more than an hour")
	set.BoolVar(&f.services, "services", false, "also measure beside PostgreSQL and Redis, which are started for it and stopped")
	set.Func("beside", "a queue beside Recall to measure, by its name in the tables, and no other unless given again", func(name string) error {
		f.beside = append(f.beside, name)
		return nil
	})
	set.StringVar(&f.only, "only", "", "comma list of workloads to run; the others are left out; \"peers\" means all beside other queues")
	set.StringVar(&f.dir, "dir", os.TempDir(), "where to put the files; it should be a real disk")
	set.StringVar(&f.json, "json", "", "write the results here (default results/TIME.json beside the sources)")
	set.StringVar(&f.html, "html", "", "write them as a page with plots here (default beside the JSON)")
	set.StringVar(&f.cpuProfile, "cpuprofile", "", "write a CPU profile here")
	set.StringVar(&f.memProfile, "memprofile", "", "write a profile of all allocations here")
	set.StringVar(&f.mutexProfile, "mutexprofile", "", "write a profile of contended locks here")
	set.StringVar(&f.profiles, "profiles", "", "write CPU, allocs, mutex and block profiles of each workload into this folder")
	set.Usage = func() { usage(set) }
	if err := set.Parse(args); err != nil {
		return f, err
	}
	if set.NArg() > 0 {
		return f, fmt.Errorf("unexpected argument %q", set.Arg(0))
	}
	if f.profiles != "" && f.cpuProfile != "" {
		return f, errors.New("-profiles and -cpuprofile exclude each other: only one profile of the processor can run")
	}
	const fewest = 1000 // below, a label of every 1000th message has no match
	if f.n != 0 && f.n < fewest {
		return f, fmt.Errorf("-n %d is less than %d", f.n, fewest)
	}
	if f.reps < 0 {
		return f, fmt.Errorf("-reps %d is negative", f.reps)
	}
	if f.peers != 0 && f.peers < fewest {
		return f, fmt.Errorf("-peers %d is less than %d", f.peers, fewest)
	}
	return f, checkBeside(f.beside)
}

func usage(set *flag.FlagSet) {
	fmt.Fprintf(set.Output(), "usage: bench [flags]\n\nworkloads:\n")
	for _, w := range workloads {
		fmt.Fprintf(set.Output(), "  %-12s %s\n", w.name, w.what)
	}
	fmt.Fprintf(set.Output(), "\nflags:\n")
	set.PrintDefaults()
}

func main() {
	err := run(os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run does everything main does. It fails when something is broken or counts
// wrong, never because something was slow.
func run(args []string, out io.Writer) (err error) {
	f, err := parseFlags(args, out)
	if err != nil {
		return err
	}
	chosen, err := choose(f.only)
	if err != nil {
		return err
	}
	stopProfile, err := startProfiles(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopProfile()) }()
	b, err := newBench(f.dir, f.sizes(), out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	defer b.closeOnSignal()()
	b.profiles = f.profiles
	if err := b.runAll(chosen); err != nil {
		return err
	}
	return b.report.save(f.json, f.html, out)
}

// sizes are those that the flags ask for.
func (f flags) sizes() sizes {
	sz := fullSizes
	if f.quick {
		sz = quickSizes
	}
	if f.n != 0 {
		sz.N = f.n
	}
	if f.reps != 0 {
		sz.Reps = f.reps
	}
	if f.scaleLarge {
		sz.Large = largeFactor * sz.N
		sz.Growth = slices.Compact(slices.Sorted(slices.Values(append(slices.Clip(sz.Growth), sz.Large))))
	}
	if f.growth != nil {
		sz.Growth = f.growth
	}
	if f.full {
		sz.Peers = fullPeers
	}
	if f.peers != 0 {
		sz.Peers = f.peers
	}
	sz.Services = f.services
	sz.Beside = f.beside
	if sz.OnServer = sz.N; f.n == 0 && f.peers != 0 {
		sz.OnServer = f.peers
	}
	return sz
}

// fullPeers is how many messages are in each queue with -full.
const fullPeers = 1_000_000

func choose(only string) ([]workload, error) {
	if only == "" {
		return workloads, nil
	}
	var chosen []workload
	for name := range strings.SplitSeq(only, ",") {
		if strings.TrimSpace(name) == peersWord {
			chosen = append(chosen, peerWorkloads()...)
			continue
		}
		i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("no workload %q", name)
		}
		chosen = append(chosen, workloads[i])
	}
	return chosen, nil
}

// sizes are how much of everything a run does.
type sizes struct {
	N          int           // messages in the big file
	Large      int           // messages in the file beyond it; none if 0
	Reps       int           // repetitions of each measurement
	Window     time.Duration // length of one timed stretch
	Writers    []int         // concurrency of publish and of the WAL
	Batches    []int         // sizes of PublishBatch
	Publishers int           // of publish and deliver at once
	Drain      int           // messages preloaded for a drain
	HTTP       int           // messages preloaded for HTTP
	Gap        time.Duration // quiet time around each cancellation
	Small      int           // small commits timed after each cancellation
	Growth     []int         // messages in the files of growth, rising
	Peers      int           // messages in each queue beside Recall
	PeerReps   int           // repetitions there
	DrainCap   time.Duration // how long a drain may take there
	DueFor     time.Duration // how long a thousand messages a second fall due there
	Services   bool          // also those that need a service
	Beside     []string      // only those queues; all if nil
	OnServer   int           // messages in each queue on PostgreSQL
	Foreign    time.Duration // between two looks at claims while a transaction of somebody else is open
}

var (
	fullSizes = sizes{
		N: 1_000_000, Reps: 1, Window: 2 * time.Second, Writers: []int{1, 16, 64, 256, 1024},
		Batches: []int{100, 1000}, Publishers: 256, Drain: 300_000, HTTP: 100_000,
		Gap: 300 * time.Millisecond, Small: 10, Growth: []int{10_000, 100_000, 1_000_000},
		Peers: 100_000, PeerReps: 2, DrainCap: 5 * time.Second, DueFor: 5 * time.Second,
		Foreign: 4 * time.Second,
	}
	quickSizes = sizes{
		N: 100_000, Reps: 1, Window: 120 * time.Millisecond, Writers: []int{1, 16, 64, 256, 1024},
		Batches: []int{100, 1000}, Publishers: 256, Drain: 10_000, HTTP: 5_000,
		Gap: 30 * time.Millisecond, Small: 5, Growth: []int{10_000, 100_000},
		Peers: 5_000, PeerReps: 1, DrainCap: time.Second, DueFor: 500 * time.Millisecond,
		Foreign: 500 * time.Millisecond,
	}
)
