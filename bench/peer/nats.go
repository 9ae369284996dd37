package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const natsName = "NATS JetStream"

// NATS is a server in this process, without a port. A label is part of the
// subject, so that a purge and the counts of the stream can tell it.
var NATS = &Peer{
	Name:     natsName,
	Settings: "nats-server " + server.VERSION + " in process, no port, file storage, SyncAlways (read back), work queue; atomic batches",
	CancelBy: "purge by wildcard subject",
	CountBy:  "the stream's counts per subject",
	Open: func(ctx context.Context, dir string, _ int) (Queue, error) {
		return openNATS(ctx, dir, natsSettings{syncAlways: true})
	},
}

const (
	natsStream = "QUEUE"
	natsWorker = "worker"
	// natsFanOut spreads a label over some subjects, as one would by customer.
	natsFanOut = 100
	// natsBatch is the most that the server takes as one atomic batch.
	natsBatch = 1000
)

// natsSettings are those that durability hangs on.
type natsSettings struct {
	syncAlways bool
	mode       jetstream.PersistModeType
	storage    jetstream.StorageType
}

type natsQueue struct {
	dir    string
	server *server.Server
	conn   *nats.Conn
	js     jetstream.JetStream
	stream jetstream.Stream
	unique atomic.Int64 // for the subjects of delayed messages
}

func openNATS(ctx context.Context, dir string, s natsSettings) (Queue, error) {
	srv, err := server.NewServer(&server.Options{
		JetStream: true, StoreDir: dir, SyncAlways: s.syncAlways,
		DontListen: true, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return nil, err
	}
	q := &natsQueue{dir: dir, server: srv}
	q.unique.Store(time.Now().UnixNano())
	srv.Start()
	if err := errors.Join(q.connect(ctx, s), q.check(ctx)); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	return q, nil
}

func (q *natsQueue) connect(ctx context.Context, s natsSettings) (err error) {
	if !q.server.ReadyForConnections(servicePatience) {
		return errors.New("the NATS server does not start")
	}
	if q.conn, err = nats.Connect("", nats.InProcessServer(q.server)); err != nil {
		return err
	}
	if q.js, err = jetstream.New(q.conn, jetstream.WithDefaultTimeout(servicePatience)); err != nil {
		return err
	}
	q.stream, err = q.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: natsStream, Subjects: []string{"q.>"},
		Retention: jetstream.WorkQueuePolicy, Storage: s.storage, PersistMode: s.mode,
		// The server refuses a stream that has both atomic batches and later flushes.
		AllowAtomicPublish: s.mode == jetstream.DefaultPersistMode, AllowMsgSchedules: true, AllowRollup: true,
	})
	return err
}

// check reads back what makes an acknowledgement mean a sync. A stream whose
// writes are flushed later has SyncAlways switched off for it.
func (q *natsQueue) check(ctx context.Context) error {
	if q.stream == nil {
		return nil // there is an error already
	}
	info, err := q.stream.Info(ctx)
	if err != nil {
		return err
	}
	always := q.server.JetStreamConfig().SyncAlways
	return errors.Join(
		mustBe(natsName, "SyncAlways", strconv.FormatBool(always), "true"),
		mustBe(natsName, "Storage", info.Config.Storage.String(), jetstream.FileStorage.String()),
		mustBe(natsName, "PersistMode", info.Config.PersistMode.String(), jetstream.DefaultPersistMode.String()),
	)
}

// toMsg: a delayed message waits on a subject of its own, from where the server
// publishes it. The client's own option for that knows only whole seconds.
func (q *natsQueue) toMsg(m Message) *nats.Msg {
	subject := fmt.Sprintf("q.%s.m.%d", m.Label, m.Number%natsFanOut)
	if m.Due.IsZero() {
		return &nats.Msg{Subject: subject, Header: nats.Header{}, Data: m.Body}
	}
	return &nats.Msg{
		Subject: fmt.Sprintf("q.%s.s.%d", m.Label, q.unique.Add(1)),
		Header: nats.Header{
			"Nats-Schedule":        {"@at " + m.Due.UTC().Format(time.RFC3339Nano)},
			"Nats-Schedule-Target": {subject},
		},
		Data: m.Body,
	}
}

// Publish waits for the acknowledgement: before it nothing is promised.
func (q *natsQueue) Publish(ctx context.Context, m Message) error {
	_, err := q.js.PublishMsg(ctx, q.toMsg(m))
	return err
}

func (q *natsQueue) PublishBatch(ctx context.Context, msgs []Message) error {
	for len(msgs) > 0 {
		n := min(len(msgs), natsBatch)
		if err := q.publishAtomic(ctx, msgs[:n]); err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// publishAtomic sends all and asks for an answer to the last, which commits. A
// message that was refused leaves a gap, and then the commit is refused.
func (q *natsQueue) publishAtomic(ctx context.Context, msgs []Message) error {
	id := strconv.FormatInt(q.unique.Add(1), 36)
	for i, m := range msgs {
		msg := q.toMsg(m)
		msg.Header.Set("Nats-Batch-Id", id)
		msg.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		if i < len(msgs)-1 {
			if err := q.conn.PublishMsg(msg); err != nil {
				return err
			}
			continue
		}
		msg.Header.Set("Nats-Batch-Commit", "1")
		ctx, cancel := context.WithTimeout(ctx, servicePatience)
		defer cancel()
		answer, err := q.conn.RequestMsgWithContext(ctx, msg)
		if err != nil {
			return err
		}
		return checkBatch(answer.Data, len(msgs))
	}
	return nil
}

// natsAnswer is what all answers of the server have in common.
type natsAnswer struct {
	Error *struct {
		Description string `json:"description"`
	} `json:"error"`
}

func (a natsAnswer) err() error {
	if a.Error == nil {
		return nil
	}
	return errors.New(a.Error.Description)
}

func checkBatch(answer []byte, want int) error {
	var ack struct {
		natsAnswer
		Count int `json:"count"`
	}
	if err := json.Unmarshal(answer, &ack); err != nil {
		return err
	}
	if ack.Error == nil && ack.Count != want {
		return fmt.Errorf("NATS took %d messages of a batch of %d", ack.Count, want)
	}
	return ack.err()
}

// Deliver has one worker that acknowledges without waiting for an answer, and
// waits at the end.
func (q *natsQueue) Deliver(h Handler) (func() error, error) {
	ctx := context.Background()
	worker, err := q.stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: natsWorker, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "q.*.m.*", MaxAckPending: 10_000,
	})
	if err != nil {
		return nil, err
	}
	var failed atomic.Pointer[error]
	consuming, err := worker.Consume(func(msg jetstream.Msg) {
		h(msg.Data())
		if err := msg.Ack(); err != nil {
			failed.Store(&err)
		}
	}, jetstream.PullMaxMessages(natsBatch))
	if err != nil {
		return nil, err
	}
	return func() error {
		consuming.Stop()
		<-consuming.Closed()
		if err := failed.Load(); err != nil {
			return *err
		}
		return q.awaitAcks(ctx)
	}, nil
}

// awaitAcks waits for the server to come to rest: what it has not taken in by
// then would be delivered again.
func (q *natsQueue) awaitAcks(ctx context.Context) error {
	if err := q.conn.Flush(); err != nil {
		return err
	}
	for last := -1; ; {
		left, err := q.Unfinished(ctx)
		if err != nil || left == 0 || left == last {
			return err
		}
		last = left
		time.Sleep(idlePoll)
	}
}

// Unfinished asks the server: an acknowledgement is on its way after the handler.
func (q *natsQueue) Unfinished(ctx context.Context) (int, error) {
	worker, err := q.stream.Consumer(ctx, natsWorker)
	if err != nil {
		return 0, err
	}
	return worker.CachedInfo().NumAckPending, nil
}

// Cancel purges by subject, which means ready messages and delayed ones.
func (q *natsQueue) Cancel(ctx context.Context, label string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, servicePatience)
	defer cancel()
	request, err := json.Marshal(jetstream.StreamPurgeRequest{Subject: natsSubjects(label)})
	if err != nil {
		return 0, err
	}
	// The client's own call does not tell how many there were.
	answer, err := q.conn.RequestWithContext(ctx, "$JS.API.STREAM.PURGE."+natsStream, request)
	if err != nil {
		return 0, err
	}
	var purge struct {
		natsAnswer
		Purged int `json:"purged"`
	}
	if err := json.Unmarshal(answer.Data, &purge); err != nil {
		return 0, err
	}
	return purge.Purged, purge.err()
}

func natsSubjects(label string) string { return "q." + label + ".>" }

func (q *natsQueue) Count(ctx context.Context, label string) (n int, err error) {
	info, err := q.stream.Info(ctx, jetstream.WithSubjectFilter(natsSubjects(label)))
	if err != nil {
		return 0, err
	}
	for _, count := range info.State.Subjects {
		n += int(count)
	}
	return n, nil
}

func (q *natsQueue) Size() (int64, error) { return FolderSize(q.dir) }

func (q *natsQueue) Close() error {
	if q.conn != nil {
		q.conn.Close()
	}
	q.server.Shutdown()
	q.server.WaitForShutdown()
	return nil
}
