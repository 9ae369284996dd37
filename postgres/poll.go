package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/recallmq/recall"
)

// poll asks, in one statement, what others have done and what time it is.
func (e *Engine) poll(ctx context.Context) error {
	conn, err := e.pool.Acquire(ctx) // waiting for it is no part of the question
	if err != nil {
		return err
	}
	defer conn.Release()
	return e.ask(ctx, conn)
}

func (e *Engine) ask(ctx context.Context, conn *pgxpool.Conn) error {
	var server, topics, schedules int64
	asked := e.clock.passed()
	err := conn.QueryRow(ctx, e.sql(`SELECT `+clockUS+`, (SELECT n FROM @counters WHERE shard = $1 AND name = $2),
		(SELECT n FROM @counters WHERE shard = $1 AND name = $3)`), e.shard, counterTopics, counterSchedules).Scan(&server, &topics, &schedules)
	if err != nil {
		return err
	}
	e.clock.answered(server, asked, e.clock.passed())
	changed := e.revisions.found(recall.ObjectTopic, topics)
	if e.revisions.found(recall.ObjectSchedule, schedules) || changed {
		hint(e.claim)
	}
	return nil
}

// pollAgain polls until ctx is done: when its time has come, and when another process
// has said that it has changed something.
func (e *Engine) pollAgain(ctx context.Context) {
	for wait(ctx, e.opts.PollInterval, e.asked) {
		hint(e.claim)
		_ = e.poll(ctx) // the next one will do: nothing is known that was not before
	}
}
