package dashboard

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/recallmq/recall"
)

// confirmed checks that the visitor has typed what the page asked for.
func (v *visit) confirmed(want string) error {
	if typed := v.r.PostForm.Get("confirm"); typed == "" || strings.TrimSpace(typed) != strings.TrimSpace(want) {
		return badInput(fmt.Sprintf("What you typed is not %q. Nothing was changed.", short(want, 100)))
	}
	return nil
}

// chosenDead are the dead letters that a form names, each once.
func chosenDead(v *visit) (ids []recall.DeadLetterID, err error) {
	for _, id := range v.r.Form["id"] {
		ids = append(ids, recall.DeadLetterID(id))
	}
	if len(ids) == 0 {
		return nil, badInput("No dead letter was chosen.")
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// confirmDeadDelete shows the dead letters that are about to be deleted, and asks for
// their number.
func confirmDeadDelete(v *visit) error {
	if err := v.mustWrite(); err != nil {
		return err
	}
	ids, err := chosenDead(v)
	if err != nil {
		return err
	}
	data := struct {
		List []recall.DeadLetter
		Gone int // of those that were chosen
	}{}
	for _, id := range ids {
		d, err := v.site.broker.DeadLetter(v.r.Context(), id)
		switch {
		case err == nil:
			data.List = append(data.List, d)
		case errors.Is(err, recall.ErrNotFound):
			data.Gone++
		default:
			return err
		}
	}
	if len(data.List) == 0 {
		return recall.ErrNotFound
	}
	return v.show("deaddelete", "Delete dead letters", data)
}

// deleteDead deletes dead letters, if the visitor has typed how many they are.
func deleteDead(v *visit) error {
	ids, err := chosenDead(v)
	if err != nil {
		return err
	}
	if err := v.confirmed(strconv.Itoa(len(ids))); err != nil {
		return err
	}
	n, err := v.site.broker.DeleteDeadLetters(v.r.Context(), ids...)
	if err != nil {
		return err
	}
	if n == 0 {
		return v.done("dead", "nothing")
	}
	return v.done("dead", "deleted")
}

// confirmScheduleDelete shows the schedule that is about to be deleted, and asks for
// its name.
func confirmScheduleDelete(v *visit) error {
	if err := v.mustWrite(); err != nil {
		return err
	}
	b, ctx := v.site.broker, v.r.Context()
	s, err := b.Schedule(ctx, v.r.Form.Get("name"))
	if err != nil {
		return err
	}
	c, err := b.Count(ctx, recall.Filter{Schedules: []string{s.ID}})
	if err != nil {
		return err
	}
	return v.show("scheduledelete", "Delete a schedule", struct {
		recall.Schedule
		Waiting int
	}{s, c.Pending})
}

// deleteSchedule deletes a schedule, if the visitor has typed its name.
func deleteSchedule(v *visit) error {
	name := v.r.PostForm.Get("name")
	if err := v.confirmed(name); err != nil {
		return err
	}
	if err := v.site.broker.DeleteSchedule(v.r.Context(), name); err != nil {
		return err
	}
	return v.done("schedules", "deleted")
}
