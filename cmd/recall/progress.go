package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a long step is: a bar on a terminal, plain lines
// elsewhere. It is used by one goroutine; a nil progress shows nothing.
type progress struct {
	out   io.Writer
	what  string
	total int
	done  int
	bar   *progressbar.ProgressBar
	shown time.Time
	begun time.Time
}

func startProgress(out io.Writer, what string, total int) *progress {
	p := &progress{out: out, what: what, total: total, begun: time.Now(), shown: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(total, progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(out),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30))
	}
	return p
}

// set moves on to n.
func (p *progress) set(n int) {
	if p == nil {
		return
	}
	p.done = n
	if p.bar != nil {
		_ = p.bar.Set(min(n, p.total)) // what fails is only the show
		return
	}
	if time.Since(p.shown) > 2*time.Second {
		p.shown = time.Now()
		fmt.Fprintf(p.out, "  %s: %d of %d\n", p.what, n, p.total)
	}
}

// stop takes the bar away.
func (p *progress) stop() {
	if p != nil && p.bar != nil {
		_ = p.bar.Finish() // twice does no harm
	}
}

// finish prints how fast it went.
func (p *progress) finish() {
	if p == nil {
		return
	}
	p.stop()
	took := time.Since(p.begun)
	fmt.Fprintf(p.out, "  %s: %d in %v (%.0f per second)\n", p.what, p.done, took.Round(time.Millisecond), float64(p.done)/took.Seconds())
}
