package dashboard

import (
	"errors"

	"github.com/recallmq/recall"
)

// messageView is one message, live or gone, with what has happened to it.
type messageView struct {
	ID       recall.MessageID
	Message  *recall.Message // nil: it is gone, and nothing of it is kept
	Live     bool
	Events   []recall.Event
	TakenBy  *recall.Operation // that cancelled it
	NoEvents bool
}

func messagePage(v *visit) error {
	m, err := v.message()
	if err != nil {
		return err
	}
	return v.show("message", "Message", m)
}

func (v *visit) message() (*messageView, error) {
	b, ctx := v.site.broker, v.r.Context()
	id, err := recall.ParseMessageID(v.r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	view := &messageView{ID: id, NoEvents: b.Options().NoEvents}
	m, err := b.Get(ctx, id)
	if view.Live = err == nil; errors.Is(err, recall.ErrNotFound) {
		m, err = b.Delivered(ctx, id)
	}
	switch {
	case err == nil:
		view.Message = &m
	case !errors.Is(err, recall.ErrNotFound):
		return nil, err
	}
	if view.Events, err = b.MessageEvents(ctx, id); err != nil && !errors.Is(err, recall.ErrUnsupported) {
		return nil, err
	}
	op, err := b.WhoCancelled(ctx, id)
	switch {
	case err == nil:
		view.TakenBy = &op
	case !errors.Is(err, recall.ErrNotFound) && !errors.Is(err, recall.ErrUnsupported):
		return nil, err
	}
	if view.Message == nil && len(view.Events) == 0 && view.TakenBy == nil {
		return nil, recall.ErrNotFound
	}
	return view, nil
}

// rawPage sends the body of a message as a file, so that no browser takes it for a
// page.
func rawPage(v *visit) error {
	view, err := v.message()
	if err != nil {
		return err
	}
	if view.Message == nil {
		return recall.ErrNotFound
	}
	v.w.Header().Set("Content-Type", "application/octet-stream")
	v.w.Header().Set("Content-Disposition", `attachment; filename="`+string(view.ID)+`"`)
	_, _ = v.w.Write(view.Message.Body) // the client may be gone
	return nil
}

// changeMessage cancels, holds, releases or retries one message.
func changeMessage(v *visit) error {
	id, err := recall.ParseMessageID(v.r.PathValue("id"))
	if err != nil {
		return err
	}
	b, ctx := v.site.broker, v.r.Context()
	f := recall.Filter{IDs: []recall.MessageID{id}}
	var r recall.ChangeResult
	notice := ""
	switch v.r.PostForm.Get("do") {
	case "cancel":
		err, notice = b.Cancel(ctx, id), "cancelled"
		r.Changed = 1
	case "sticky":
		err, notice = b.Cancel(ctx, id, recall.Sticky), "requested"
		r.Changed = 1
	case "abort":
		err, notice = b.Cancel(ctx, id, recall.Abort), "requested"
		r.Changed = 1
	case "hold":
		r, err = b.Hold(ctx, f)
		notice = "held"
	case "release":
		r, err = b.Release(ctx, f)
		notice = "released"
	case "retry":
		r, err = b.RetryNow(ctx, f)
		notice = "retried"
	default:
		return badInput("There is no such change of a message.")
	}
	if err != nil {
		return err
	}
	if r.Changed == 0 {
		notice = "nothing"
	}
	if notice == "cancelled" && b.Options().NoEvents {
		return v.done("messages", notice) // nothing is left to show
	}
	return v.done("messages/"+string(id), notice)
}
