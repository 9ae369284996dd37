package main

import (
	"context"
	"errors"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"github.com/recallmq/recall"
)

// top is the command that shows a server at work.
type top struct {
	target
	every time.Duration
	once  bool
}

func topCommand() *cobra.Command {
	t := &top{}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch a server at work",
		Long: `Show messages, rates, queues and flow-control keys, anew every second; q ends it.
With --once it writes one frame, with the counts since the server began, and ends;
so it does with --json, as one object.`,
		Example: "  recall top\n  recall top --once",
		Args:    noArgs,
	}
	cmd.RunE = t.run(func(ctx context.Context, s *session, _ []string) error { return t.watch(ctx, s) })
	t.addFlags(cmd)
	cmd.Flags().DurationVar(&t.every, "every", time.Second, "how often to look")
	cmd.Flags().BoolVar(&t.once, "once", false, "write one frame and end")
	return cmd
}

func (t *top) watch(ctx context.Context, s *session) error {
	if t.every < 100*time.Millisecond {
		return usagef("--every %v: it has to be 100ms or more", t.every)
	}
	now, err := lookAt(ctx, s)
	switch {
	case err != nil:
		return err
	case s.json:
		return printJSON(s.out, now.wire())
	case t.once:
		s.say("%s", (&frame{now: now, width: s.width}).text())
		return nil
	case s.width == 0 || !isTerminal(s.in):
		return usagef("top wants a terminal; --once writes one frame")
	}
	m := &topModel{ctx: ctx, s: s, every: t.every, name: t.name(), frame: frame{now: now, width: s.width}}
	_, err = tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(s.in), tea.WithOutput(s.out), tea.WithoutSignalHandler()).Run()
	if ctx.Err() != nil && errors.Is(err, tea.ErrProgramKilled) {
		err = nil // Ctrl-C is how one leaves it
	}
	return err
}

// name is what is watched.
func (t *target) name() string {
	if t.db != "" {
		return t.db
	}
	return t.server()
}

// snapshot is a server at one time.
type snapshot struct {
	at     time.Time
	stats  recall.Stats
	queues []recall.QueueInfo
	flow   []recall.FlowState
}

func lookAt(ctx context.Context, s *session) (now snapshot, err error) {
	now.at = time.Now()
	if now.stats, err = s.Stats(ctx); err != nil {
		return now, err
	}
	if now.queues, err = s.Queues(ctx); err != nil {
		return now, err
	}
	now.flow, err = s.FlowKeys(ctx)
	return now, err
}

// topModel is the state of the live view.
type topModel struct {
	ctx    context.Context
	s      *session
	every  time.Duration
	name   string
	frame  frame
	height int
	fault  string // why the last look failed
}

type (
	tickMsg  struct{}
	lookMsg  snapshot
	faultMsg struct{ error }
)

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.tick() }

func (m *topModel) tick() tea.Cmd {
	return tea.Tick(m.every, func(time.Time) tea.Msg { return tickMsg{} })
}

func (m *topModel) look() tea.Msg {
	now, err := lookAt(m.ctx, m.s)
	if err != nil {
		return faultMsg{err}
	}
	return lookMsg(now)
}

// Update implements tea.Model. There is one look at a time: the next tick begins
// when it has come back.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		}
	case tea.WindowSizeMsg:
		m.frame.width, m.height = msg.Width, msg.Height
	case tickMsg:
		return m, m.look
	case lookMsg:
		m.fault = ""
		m.frame.move(snapshot(msg))
		return m, m.tick()
	case faultMsg: // a server that restarts is waited for
		m.fault = msg.Error()
		return m, m.tick()
	}
	return m, nil
}

// View implements tea.Model.
func (m *topModel) View() tea.View {
	f := m.frame
	f.title, f.fault, f.height = m.name, m.fault, m.height
	v := tea.NewView(f.text())
	v.AltScreen = true
	v.WindowTitle = "recall top"
	return v
}
