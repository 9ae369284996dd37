// Package pgserver starts a PostgreSQL that nobody else reaches, or a primary with a
// synchronous standby, for tests and benchmarks: what they need of it is in pgtest, and in
// the module of the benchmarks. It is no way to run one for anything else.
//
// A server listens on a unix socket only. It needs initdb and postgres, on the path or where
// distributions put them. Root runs them as the user postgres, or nobody. On Linux a server
// ends also when its process is killed; the folders of such a process are removed by the next
// one that starts a server.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// patience is how long a server may take to start or to stop. On a busy machine that
// is not a second.
const patience = 10 * time.Minute

// pollInterval is how often a server is asked whether it is ready.
const pollInterval = 5 * time.Millisecond

const superuser = "recall"

// program is the server.
const program = "postgres"

// places are where programs may be that are not on the path.
var places = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"}

// Config says which server to start.
type Config struct {
	// Settings are given to the server as they are, such as "fsync=off"; of several for
	// the same thing the last one holds. The rest is as PostgreSQL has it, also how durable
	// a commit is.
	Settings []string
	// Dir is a folder, made if it is not there, whose data is used, and stays when the
	// server is stopped. If it is empty the server has a folder of its own, which Stop
	// removes. Root does not run the server, so others must get to the folder.
	Dir string
	// Copied has an empty cluster copied, not made, after the first one: that takes a
	// tenth of the time. StopAll removes the one that is copied.
	Copied bool
}

// Server is a PostgreSQL that nobody else reaches. Stop, Kill, Restart and StopAll may be
// called at once.
type Server struct {
	config  Config
	dir     string   // of the socket: its name is short, as the system wants it
	home    string   // of the data; dir, unless the caller has named one
	held    *os.File // says that dir is in use
	program string
	who     *account

	mu      sync.Mutex
	process *process // nil: none runs
}

// process is a server that was started once.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a server, on an empty cluster unless there is one in the folder. It fails
// if there is no PostgreSQL, or if that does not start; the error has what it said.
func Start(ctx context.Context, c Config) (*Server, error) {
	return begin(ctx, c, (*Server).initialise)
}

// begin starts a server on the cluster that fill puts into its folder, if there is none.
func begin(ctx context.Context, c Config, fill func(*Server, context.Context) error) (*Server, error) {
	program, err := Find()
	if err != nil {
		return nil, err
	}
	who, err := serverAccount()
	if err != nil {
		return nil, err
	}
	s := &Server{config: c, program: program, who: who}
	if err := s.begin(ctx, fill); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Server) begin(ctx context.Context, fill func(*Server, context.Context) error) (err error) {
	removeLeft()
	if s.dir, s.held, err = newFolder(s.who); err != nil {
		return err
	}
	if s.home = s.dir; s.config.Dir != "" {
		if s.home, err = filepath.Abs(s.config.Dir); err != nil {
			return err
		}
	}
	if _, err := os.Stat(s.data()); err != nil {
		if err := s.settle(); err != nil {
			return err
		}
		if err := fill(s, ctx); err != nil {
			return err
		}
	}
	return s.start(ctx)
}

// settle makes the folder of the data the server's.
func (s *Server) settle() error {
	if err := os.MkdirAll(s.home, 0o755); err != nil {
		return err
	}
	return s.who.own(s.home)
}

// DSN is the address of the server's own database.
func (s *Server) DSN() string {
	return "postgres:///postgres?" + url.Values{"host": {s.dir}, "user": {superuser}, "sslmode": {"disable"}}.Encode()
}

// words is the same for the programs of PostgreSQL, to which more may be added.
func (s *Server) words() string {
	return "host=" + s.dir + " user=" + superuser + " dbname=postgres"
}

// Data is the folder of the cluster.
func (s *Server) Data() string { return s.data() }

func (s *Server) data() string { return filepath.Join(s.home, "data") }

// Process is the number of the process that has started all others of the server, 0 if it
// does not run.
func (s *Server) Process() int {
	if p := s.current(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// tool is a program of the server's version.
func (s *Server) tool(name string) string { return filepath.Join(filepath.Dir(s.program), name) }

// run runs a program to its end, as the user of the server.
func run(ctx context.Context, who *account, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.SysProcAttr = dir, attributes(who)
	// Pdeathsig is of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

func (s *Server) start(ctx context.Context) error {
	args := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses="}
	for _, setting := range s.config.Settings {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.home, log, log, attributes(s.who)
	p := &process{cmd, make(chan struct{})}
	started := make(chan error)
	go p.watch(started)
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	up.add(s)
	return s.await(ctx, p)
}

// watch runs the server until it ends. To Linux the parent of a process is the thread
// that started it: that one stays, so that the server does not end with it.
func (p *process) watch(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		_ = p.cmd.Wait() // how it ended is in its log
	}
	close(p.exited)
}

func (s *Server) log() string { return filepath.Join(s.dir, logName) }

// await returns when the server answers.
func (s *Server) await(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.exited:
			return fmt.Errorf("the server ended: %w: %s", err, s.said())
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w: %s", err, s.said())
		case <-after(pollInterval):
		}
	}
}

// said is the end of what the server wrote.
func (s *Server) said() string {
	text, _ := os.ReadFile(s.log())
	return string(text[max(0, len(text)-2000):])
}

// Stop ends the server, which waits for nobody, and removes what it kept, but for the data
// in a folder of the caller. It fails if the server had to be killed, or if files are left.
func (s *Server) Stop() error {
	err := s.end(os.Interrupt)
	up.remove(s)
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	if s.held != nil {
		_ = s.held.Close()
	}
	return err
}

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// ended forgets a process that is no more.
func (s *Server) ended(p *process) {
	<-p.exited
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == p {
		s.process = nil
	}
}

// end ends the process, if it runs.
func (s *Server) end(how os.Signal) (err error) {
	p := s.current()
	if p == nil {
		return nil
	}
	_ = p.cmd.Process.Signal(how)
	select {
	case <-p.exited:
	case <-after(patience):
		err = errors.Join(fmt.Errorf("the server did not stop: %s", s.said()), p.cmd.Process.Kill())
	}
	s.ended(p)
	return err
}

// Kill ends the server as it ends in an emergency. Restart has it back.
func (s *Server) Kill() { _ = s.end(syscall.SIGQUIT) }

// Restart ends the server as it ends in an emergency, without a checkpoint, and starts it
// again on what it has written. Whoever is connected loses the connection.
func (s *Server) Restart() error {
	s.Kill()
	return s.start(context.Background())
}

// Find returns where the server's program is in truth: beside it are the others of its
// version. It fails if there is none.
func Find() (string, error) {
	path, missing := exec.LookPath(program)
	if missing == nil {
		return filepath.EvalSymlinks(path)
	}
	var all []string
	for _, place := range places {
		found, err := filepath.Glob(filepath.Join(place, program))
		if err != nil {
			return "", err
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return "", missing
	}
	return filepath.EvalSymlinks(slices.Max(all))
}

// account is a user to run a server as.
type account struct{ uid, gid uint32 }

// serverAccount is nil for a user who may run one. PostgreSQL refuses to run as
// root, so then it is its own user or somebody without rights.
func serverAccount() (*account, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		return &account{uint32(uid), uint32(gid)}, errors.Join(errU, errG)
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
}

func (a *account) own(dir string) error {
	if a == nil {
		return nil
	}
	return os.Chown(dir, int(a.uid), int(a.gid))
}
