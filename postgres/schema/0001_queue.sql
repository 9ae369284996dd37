-- The queue. Every table leads with the shard, every index says ASC, and every
-- statement on it names one shard. "@" stands for the schema.

-- The sources of numbers, and the one lock of a shard: who publishes holds the row
-- "message" until the commit, so the order of ids is the order of commits.
CREATE TABLE @counters (
	shard smallint NOT NULL,
	name  text     NOT NULL,
	n     bigint   NOT NULL DEFAULT 0, -- the newest number
	ms    bigint   NOT NULL DEFAULT 0, -- the largest time that was given out with one
	clamp bigint   NOT NULL DEFAULT 0, -- the largest step back of a clock that was absorbed
	PRIMARY KEY (shard, name)
);

-- Live messages, and the cancelled ones that can still be restored: 0 pending,
-- 1 in flight, 2 cancelled. An attribute that a message does not have is ''.
CREATE TABLE @messages (
	shard     smallint NOT NULL,
	id        uuid     NOT NULL, -- the ULID of the message's id
	seq       bigint   NOT NULL,
	state     smallint NOT NULL,
	held      boolean  NOT NULL,
	requested boolean  NOT NULL, -- to be cancelled when its attempt ends
	due_ms    bigint   NOT NULL,
	created_ms bigint  NOT NULL, -- by the wall clock of the publisher
	attempts  integer  NOT NULL,
	priority  smallint NOT NULL,
	handler   text     NOT NULL, -- the URL, if it is local or for consumers
	queue     text     NOT NULL,
	url       text     NOT NULL,
	host      text     NOT NULL, -- with its port
	hostname  text     NOT NULL, -- without
	path      text     NOT NULL,
	topic     text     NOT NULL,
	schedule  text     NOT NULL,
	ip        text     NOT NULL,
	addr      inet,              -- the same, where it is an address without a zone
	flow_key  text     NOT NULL,
	labels    text[]   NOT NULL,
	blocks    text     NOT NULL, -- the queue that waits for this message
	place     text     NOT NULL, -- the message whose place it keeps there; '': its own
	place_id  uuid,
	epoch     bigint   NOT NULL, -- of the owner of the lease
	number    bigint   NOT NULL,
	op        uuid,              -- the operation that has cancelled it
	size      integer  NOT NULL, -- of body and headers
	PRIMARY KEY (shard, id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01);

-- What does not change: state changes rewrite the small row only.
CREATE TABLE @payloads (
	shard smallint NOT NULL,
	id    uuid     NOT NULL,
	spec  bytea    NOT NULL,
	body  bytea    NOT NULL,
	PRIMARY KEY (shard, id)
);

CREATE TABLE @labels (
	shard smallint NOT NULL,
	label text     NOT NULL,
	id    uuid     NOT NULL,
	PRIMARY KEY (shard, label, id)
);

CREATE INDEX messages_ready ON @messages (shard ASC, handler ASC, priority ASC, due_ms ASC, id ASC)
	WHERE state = 0 AND NOT held AND queue = '' AND flow_key = '';
CREATE INDEX messages_keyed ON @messages (shard ASC, flow_key ASC, due_ms ASC, id ASC)
	WHERE state = 0 AND NOT held AND queue = '' AND flow_key <> '';
CREATE INDEX messages_owned ON @messages (shard ASC, epoch ASC) WHERE state = 1;
CREATE INDEX messages_queue_out ON @messages (shard ASC, queue ASC) WHERE state = 1 AND queue <> '';
CREATE INDEX messages_flow_out ON @messages (shard ASC, flow_key ASC) WHERE state = 1 AND flow_key <> '';
CREATE INDEX messages_live ON @messages (shard ASC, id ASC) WHERE state < 2;
CREATE INDEX messages_queue ON @messages (shard ASC, queue ASC, id ASC) WHERE state < 2 AND queue <> '';
CREATE INDEX messages_url ON @messages (shard ASC, url ASC, id ASC) WHERE state < 2;
CREATE INDEX messages_host ON @messages (shard ASC, hostname ASC, id ASC) WHERE state < 2 AND host <> '';
CREATE INDEX messages_topic ON @messages (shard ASC, topic ASC, id ASC) WHERE state < 2 AND topic <> '';
CREATE INDEX messages_schedule ON @messages (shard ASC, schedule ASC, id ASC) WHERE state < 2 AND schedule <> '';
CREATE INDEX messages_ip ON @messages (shard ASC, ip ASC, id ASC) WHERE state < 2 AND ip <> '';
CREATE INDEX messages_flow ON @messages (shard ASC, flow_key ASC, id ASC) WHERE state < 2 AND flow_key <> '';
CREATE INDEX messages_created ON @messages (shard ASC, created_ms ASC) WHERE state < 2;
CREATE INDEX messages_blocks ON @messages (shard ASC, blocks ASC) WHERE state < 2 AND blocks <> '';
CREATE INDEX messages_op ON @messages (shard ASC, op ASC, id ASC) WHERE state = 2;

-- Dead letters have the columns that a filter asks for, by the same names.
CREATE TABLE @dead (
	shard     smallint NOT NULL,
	n         bigint   NOT NULL, -- in the order of arrival
	died_ms   bigint   NOT NULL,
	id        uuid     NOT NULL, -- of the message
	due_ms    bigint   NOT NULL,
	created_ms bigint  NOT NULL,
	attempts  integer  NOT NULL,
	priority  smallint NOT NULL,
	queue     text     NOT NULL,
	url       text     NOT NULL,
	host      text     NOT NULL,
	hostname  text     NOT NULL,
	path      text     NOT NULL,
	topic     text     NOT NULL,
	schedule  text     NOT NULL,
	ip        text     NOT NULL,
	addr      inet,
	flow_key  text     NOT NULL,
	labels    text[]   NOT NULL,
	spec      bytea    NOT NULL,
	body      bytea    NOT NULL,
	reason    text     NOT NULL,
	response  bytea,
	size      integer  NOT NULL,
	PRIMARY KEY (shard, n)
);
CREATE INDEX dead_id ON @dead (shard ASC, id ASC);
CREATE INDEX dead_queue ON @dead (shard ASC, queue ASC, n ASC) WHERE queue <> '';
CREATE INDEX dead_topic ON @dead (shard ASC, topic ASC, n ASC) WHERE topic <> '';
CREATE INDEX dead_labels ON @dead USING gin (labels);

-- Queues, topics, schedules and flow-control keys as the broker knows them.
CREATE TABLE @objects (
	shard smallint NOT NULL,
	kind  smallint NOT NULL,
	name  text     NOT NULL COLLATE "C",
	value bytea    NOT NULL,
	PRIMARY KEY (shard, kind, name)
);

-- What a claim has to know of a queue. Nothing of it can be claimed before look_ms.
CREATE TABLE @queues (
	shard       smallint NOT NULL,
	queue       text     NOT NULL COLLATE "C",
	parallelism integer  NOT NULL,
	paused      boolean  NOT NULL,
	look_ms     bigint   NOT NULL,
	PRIMARY KEY (shard, queue)
) WITH (fillfactor = 50);
CREATE INDEX queues_look ON @queues (shard ASC, look_ms ASC) WHERE NOT paused;

CREATE TABLE @flows (
	shard       smallint NOT NULL,
	flow_key    text     NOT NULL COLLATE "C",
	limited     boolean  NOT NULL, -- it has settings
	rate        integer  NOT NULL,
	period_ms   bigint   NOT NULL,
	parallelism integer  NOT NULL,
	paused      boolean  NOT NULL,
	start_ms    bigint,            -- of the period of the rate; NULL: none has begun
	used        integer  NOT NULL,
	look_ms     bigint   NOT NULL,
	PRIMARY KEY (shard, flow_key)
) WITH (fillfactor = 50);
CREATE INDEX flows_look ON @flows (shard ASC, look_ms ASC) WHERE NOT paused;

CREATE TABLE @dedup (
	shard      smallint NOT NULL,
	key        bytea    NOT NULL, -- SHA-256 of the deduplication id
	id         uuid     NOT NULL,
	created_ms bigint   NOT NULL,
	at_ms      bigint   NOT NULL,
	PRIMARY KEY (shard, key)
);
CREATE INDEX dedup_at ON @dedup (shard ASC, at_ms ASC);

-- Records of bulk operations.
CREATE TABLE @operations (
	shard       smallint NOT NULL,
	id          uuid     NOT NULL, -- the ULID of the operation's id
	kind        text     NOT NULL,
	at_ms       bigint   NOT NULL,
	filter      text     NOT NULL, -- for a person
	selects     bytea    NOT NULL, -- of a standing cancellation: the filter as JSON
	reason      text     NOT NULL,
	policy      smallint NOT NULL,
	count       bigint   NOT NULL,
	requested   bigint   NOT NULL,
	blocker     text     NOT NULL,
	walked      text     NOT NULL,
	scanned     bigint   NOT NULL,
	took_ns     bigint   NOT NULL,
	until_ms    bigint,            -- of a standing cancellation
	lifted_ms   bigint,
	restored_ms bigint,
	restored    bigint   NOT NULL, -- what the undo has brought back
	lifted      bigint   NOT NULL,
	undo_ms     bigint,            -- it can be undone before that
	running     bigint   NOT NULL, -- the owner whose call has not returned; 0: none
	PRIMARY KEY (shard, id)
);
CREATE INDEX operations_standing ON @operations (shard ASC, id ASC)
	WHERE kind = 'standing cancellation' AND lifted_ms IS NULL;
CREATE INDEX operations_undo ON @operations (shard ASC, undo_ms ASC) WHERE undo_ms IS NOT NULL;

-- What an operation has taken that is no row of messages any more.
CREATE TABLE @members (
	shard smallint NOT NULL,
	id    uuid     NOT NULL,
	op    uuid     NOT NULL,
	PRIMARY KEY (shard, id, op)
);
CREATE INDEX members_op ON @members (shard ASC, op ASC);

-- Whose cancellation an operation has requested.
CREATE TABLE @asks (
	shard smallint NOT NULL,
	id    uuid     NOT NULL,
	op    uuid     NOT NULL,
	PRIMARY KEY (shard, id, op)
);
CREATE INDEX asks_op ON @asks (shard ASC, op ASC);

-- The log of events. n is given when somebody looks: until then the order is that
-- of stamp and ord.
CREATE TABLE @events (
	shard smallint NOT NULL,
	stamp bigint   NOT NULL, -- microseconds of this server's clock
	ord   integer  NOT NULL, -- within one statement
	tie   bigint   NOT NULL, -- so that two are never the same
	n     bigint,
	at_ms bigint   NOT NULL,
	state smallint NOT NULL,
	id    uuid,
	row   bytea    NOT NULL,
	PRIMARY KEY (shard, stamp, ord, tie)
);
CREATE INDEX events_n ON @events (shard ASC, n ASC);
CREATE INDEX events_id ON @events (shard ASC, id ASC) WHERE id IS NOT NULL;

-- Processes that hold leases. Theirs end when until_us has passed by the clock of
-- this server.
CREATE TABLE @owners (
	shard    smallint NOT NULL,
	epoch    bigint   NOT NULL,
	until_us bigint   NOT NULL,
	PRIMARY KEY (shard, epoch)
);

-- Keys of calls whose commit may have to be asked for.
CREATE TABLE @calls (
	shard smallint NOT NULL,
	call  uuid     NOT NULL,
	at_us bigint   NOT NULL,
	PRIMARY KEY (shard, call)
);
CREATE INDEX calls_at ON @calls (shard ASC, at_us ASC);

CREATE TABLE @buckets (
	shard  smallint NOT NULL,
	bucket text     NOT NULL COLLATE "C",
	key    bytea    NOT NULL,
	value  bytea    NOT NULL,
	PRIMARY KEY (shard, bucket, key)
);
CREATE TABLE @sequences (
	shard  smallint NOT NULL,
	bucket text     NOT NULL COLLATE "C",
	n      bigint   NOT NULL,
	PRIMARY KEY (shard, bucket)
);
