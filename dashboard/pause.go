package dashboard

import "context"

// pauseOrResume does what the form says to what it names.
func (v *visit) pauseOrResume(page string, pause, resume func(context.Context, string) error) error {
	do, notice := pause, "paused"
	switch v.r.PostForm.Get("do") {
	case "pause":
	case "resume":
		do, notice = resume, "resumed"
	default:
		return badInput("There is no such change.")
	}
	name := v.r.PostForm.Get("name")
	if name == "" {
		return badInput("The name is missing.")
	}
	if err := do(v.r.Context(), name); err != nil {
		return err
	}
	return v.done(page, notice)
}
