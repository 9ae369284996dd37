package peer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Asynq is Redis with a log that is synced before each answer.
var Asynq = &Peer{
	Name: "asynq",
	Settings: "0.26.0 on a Redis of its own with appendonly yes, appendfsync always, no-appendfsync-on-rewrite no (read back), no snapshots, " +
		"unix socket; a queue per label, Concurrency 64, delayed tasks looked for each 100 ms (by default 5 s)",
	CancelBy: "DeleteAllPendingTasks and DeleteAllScheduledTasks of the label's queue, after a rewrite of the log",
	CountBy:  "GetQueueInfo",
	Program:  redisProgram,
	Open: func(ctx context.Context, dir string, publishers int) (Queue, error) {
		return openAsynq(ctx, dir, publishers)
	},
}

const (
	redisProgram = "redis-server"
	asynqType    = "message"
)

// redisDurable are the settings that an answer hangs on.
var redisDurable = [][2]string{{"appendonly", "yes"}, {"appendfsync", "always"}, {"no-appendfsync-on-rewrite", "no"}}

type asynqQueue struct {
	dir, socket string
	server      *service
	redis       redis.UniversalClient
	client      *asynq.Client
	inspector   *asynq.Inspector
	options     asynq.RedisClientOpt
}

// openAsynq starts Redis on what the folder has. More settings come after the
// usual ones.
func openAsynq(ctx context.Context, dir string, publishers int, settings ...string) (Queue, error) {
	program, err := find(redisProgram)
	if err != nil {
		return nil, err
	}
	q := &asynqQueue{dir: dir}
	if err := q.start(ctx, program, publishers, settings); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func (q *asynqQueue) start(ctx context.Context, program string, publishers int, settings []string) (err error) {
	if q.socket, err = os.MkdirTemp("", "recall-redis-"); err != nil {
		return err
	}
	path := filepath.Join(q.socket, "redis.sock")
	args := []string{"--port", "0", "--unixsocket", path, "--dir", q.dir, "--save", "", "--daemonize", "no"}
	for _, s := range redisDurable {
		args = append(args, "--"+s[0], s[1])
	}
	if q.server, err = startService(q.dir, "redis", syscall.SIGTERM, program, append(args, settings...)...); err != nil {
		return err
	}
	q.options = asynq.RedisClientOpt{
		Network: "unix", Addr: path, PoolSize: max(publishers, 20),
		ReadTimeout: servicePatience, WriteTimeout: servicePatience,
	}
	q.redis = q.options.MakeRedisClient().(redis.UniversalClient)
	if err := q.server.await(ctx, func(ctx context.Context) error { return q.redis.Ping(ctx).Err() }); err != nil {
		return err
	}
	if err := q.check(ctx); err != nil {
		return err
	}
	q.client, q.inspector = asynq.NewClientFromRedisClient(q.redis), asynq.NewInspectorFromRedisClient(q.redis)
	return nil
}

func (q *asynqQueue) check(ctx context.Context) error {
	for _, s := range redisDurable {
		got, err := q.redis.ConfigGet(ctx, s[0]).Result()
		if err != nil {
			return err
		}
		if err := mustBe("Redis", s[0], got[s[0]], s[1]); err != nil {
			return err
		}
	}
	return nil
}

func (q *asynqQueue) Publish(ctx context.Context, m Message) error {
	options := []asynq.Option{asynq.Queue(m.Label)}
	if !m.Due.IsZero() {
		options = append(options, asynq.ProcessAt(m.Due))
	}
	_, err := q.client.EnqueueContext(ctx, asynq.NewTask(asynqType, m.Body), options...)
	return err
}

func (q *asynqQueue) PublishBatch(context.Context, []Message) error {
	return cannot("asynq has no call for more than one task")
}

func (q *asynqQueue) Deliver(h Handler) (func() error, error) {
	queues := map[string]int{}
	for _, label := range Labels {
		queues[label] = 1
	}
	server := asynq.NewServer(q.options, asynq.Config{
		Concurrency: 64, Queues: queues, DelayedTaskCheckInterval: 100 * time.Millisecond, LogLevel: asynq.ErrorLevel,
	})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		h(t.Payload())
		return nil
	}))
	return func() error {
		server.Shutdown()
		return nil
	}, err
}

func (q *asynqQueue) Cancel(_ context.Context, label string) (total int, err error) {
	for _, drop := range []func(string) (int, error){q.inspector.DeleteAllPendingTasks, q.inspector.DeleteAllScheduledTasks} {
		n, err := drop(label)
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return 0, nil // nothing had that label yet
		}
		if err != nil {
			return total, err
		}
		total += n
	}
	return total, nil
}

func (q *asynqQueue) Count(_ context.Context, label string) (int, error) {
	info, err := q.inspector.GetQueueInfo(label)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Pending + info.Scheduled + info.Retry, nil
}

// Quiet has the log rewritten, and waits: beside a rewrite a cancellation takes
// so long that Redis may refuse everybody else.
func (q *asynqQueue) Quiet(ctx context.Context) error {
	err := q.redis.BgRewriteAOF(ctx).Err()
	if err != nil && !strings.Contains(err.Error(), "already in progress") { // one that Redis began by itself does as well
		return err
	}
	return q.server.await(ctx, func(ctx context.Context) error {
		info, err := q.redis.Info(ctx, "persistence").Result()
		if strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0") {
			return err
		}
		return errors.Join(err, errors.New("the log is being rewritten"))
	})
}

func (q *asynqQueue) Size() (int64, error) { return FolderSize(q.dir) }

func (q *asynqQueue) Memory() (int64, error) { return memoryOf([]int{q.server.cmd.Process.Pid}) }

func (q *asynqQueue) Close() error {
	var errs []error
	if q.redis != nil {
		errs = append(errs, q.redis.Close())
	}
	if q.server != nil {
		errs = append(errs, q.server.stop())
	}
	if q.socket != "" {
		errs = append(errs, os.RemoveAll(q.socket))
	}
	return errors.Join(errs...)
}
