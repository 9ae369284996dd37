package pgtest

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

// small are the settings of a server for tests. It has connections for 60 pools of
// poolSize, more than the tests of a binary that run at a time.
var small = []string{
	"listen_addresses=", "max_connections=500", "shared_buffers=32MB", "timezone=UTC",
	"wal_level=minimal", "max_wal_senders=0", "autovacuum_naptime=15s",
}

// places are where programs may be that are not on the path.
var places = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin"}

// Server is a PostgreSQL that nobody else reaches.
type Server struct {
	dir      string   // with the data, and the socket: its name is short, as the system wants it
	held     *os.File // says that dir is in use
	program  string
	who      *account
	settings []string
	cmd      *exec.Cmd
	exited   chan struct{}
}

// Start makes an empty cluster and starts a server on it. Settings are given to
// the server as they are, "fsync=off".
func Start(settings ...string) (*Server, error) {
	return begin(settings, func(s *Server) error {
		return s.run(s.tool("initdb"), "-D", s.data(), "-U", superuser, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
	})
}

// begin starts a server on the cluster that fill puts into its folder.
func begin(settings []string, fill func(*Server) error) (*Server, error) {
	program, err := find("postgres")
	if err != nil {
		return nil, err
	}
	who, err := serverAccount()
	if err != nil {
		return nil, err
	}
	s := &Server{program: program, who: who, settings: settings}
	removeLeft()
	if s.dir, err = os.MkdirTemp("", prefix); err != nil {
		return nil, err
	}
	s.held, err = hold(s.dir, true)
	if err == nil {
		err = who.own(s.dir)
	}
	if err == nil {
		err = fill(s)
	}
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// DSN is the address of the server's own database.
func (s *Server) DSN() string {
	return "postgres:///postgres?" + url.Values{"host": {s.dir}, "user": {superuser}, "sslmode": {"disable"}}.Encode()
}

// words is the same for the programs of PostgreSQL, to which more may be added.
func (s *Server) words() string {
	return "host=" + s.dir + " user=" + superuser + " dbname=postgres"
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// tool is a program of the server's version.
func (s *Server) tool(name string) string { return filepath.Join(filepath.Dir(s.program), name) }

// run runs a program to its end, as the user of the server.
func (s *Server) run(program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, attributes(s.who)
	// Pdeathsig is of the thread that starts it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return nil
}

func (s *Server) start() error {
	args := []string{"-D", s.data(), "-k", s.dir}
	for _, setting := range slices.Concat(small, s.settings) {
		args = append(args, "-c", setting)
	}
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(s.program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, log, log, attributes(s.who)
	started := make(chan error)
	s.exited = make(chan struct{})
	go watch(cmd, started, s.exited)
	if err := <-started; err != nil {
		return err
	}
	s.cmd = cmd
	return s.await()
}

// watch runs the server until it ends. To Linux the parent of a process is the thread
// that started it: that one stays, so that the server does not end with it.
func watch(cmd *exec.Cmd, started chan<- error, exited chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ended is in its log
	}
	close(exited)
}

func (s *Server) log() string { return filepath.Join(s.dir, logName) }

// await returns when the server answers.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN())
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
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

// Stop ends the server, which waits for nobody, and removes what it kept.
func (s *Server) Stop() {
	s.end(os.Interrupt)
	_ = os.RemoveAll(s.dir)
	_ = s.held.Close() // no file, if it could not be held
}

// end ends the process, if it runs.
func (s *Server) end(how os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(how)
	select {
	case <-s.exited:
	case <-after(patience):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
	s.cmd = nil
}

// Kill ends the server as it ends in an emergency. Restart has it back.
func (s *Server) Kill() { s.end(syscall.SIGQUIT) }

// Restart ends the server as it ends in an emergency, without a checkpoint, and starts it
// again on what it has written. Whoever is connected loses the connection.
func (s *Server) Restart() error {
	s.Kill()
	return s.start()
}

// find returns where a program is in truth: beside it are the others of its
// version.
func find(program string) (string, error) {
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
	return slices.Max(all), nil
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
