package sdk_test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// buildRecall builds the program once for all tests.
var buildRecall = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaries, "recall.exe") // the name that Windows wants
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = filepath.Join("..", "cmd", "recall")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), err
	}
	return path, nil
})

var running = regexp.MustCompile(`running at (http://\S+)`)

// startRecall runs recall dev on a free port until the test ends, and returns
// where it is.
func startRecall(t *testing.T, flags ...string) (url string) {
	t.Helper()
	path, err := buildRecall()
	if err != nil {
		t.Fatalf("building recall: %v\n%s", err, path)
	}
	cmd := exec.Command(path, append([]string{"dev", "--port", "0", "--memory"}, flags...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said := &tail{}
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if m := running.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone
		<-ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the end of what recall dev said:\n%s", said)
		}
	})
	select {
	case url := <-found:
		return url
	case <-ended:
	case <-time.After(time.Minute):
	}
	t.Fatalf("recall dev does not run:\n%s", said)
	return ""
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, p...)
	if over := len(w.text) - 4096; over > 0 {
		w.text = w.text[over:]
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.text)
}
