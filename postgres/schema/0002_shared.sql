-- How many deduplication ids are reserved, and how often walks have numbered what
-- transactions of programs have published.
INSERT INTO @counters (shard, name, n) SELECT s.shard, 'dedup', (SELECT count(*) FROM @dedup d WHERE d.shard = s.shard)
	FROM @counters s WHERE s.name = 'message';

-- What a transaction of a program has published has no number, 0, as nobody waits for
-- it; the first walk that sees it gives it a negative one.
CREATE INDEX messages_unnumbered ON @messages (shard ASC) WHERE seq = 0;

-- What such a transaction leaves to be done when it is committed. It takes no lock that
-- others need: it only adds rows here.
CREATE TABLE @errands (
	shard smallint NOT NULL,
	id    uuid     NOT NULL, -- in the order of the calls
	kind  smallint NOT NULL, -- 1 queue, 2 flow-control key, 3 standing cancellation, 4 deduplication ids
	name  text     NOT NULL,
	op    uuid,              -- of kind 3
	n     bigint   NOT NULL, -- how many, of kinds 3 and 4
	value bytea    NOT NULL, -- of kind 2: the limit that a message brings, or ''
	PRIMARY KEY (shard, id)
);
CREATE INDEX errands_flow ON @errands (shard ASC, name ASC) WHERE kind = 2 AND value <> '';

-- What the messages hold that an operation has taken, for the bound of all that can be
-- undone.
ALTER TABLE @operations ADD COLUMN bytes bigint NOT NULL DEFAULT 0;

-- A key may be longer than a row of an index: it is unique by its hash, and ordered by
-- its beginning.
ALTER TABLE @buckets ADD COLUMN hash bytea;
UPDATE @buckets SET hash = sha256(key);
ALTER TABLE @buckets ALTER COLUMN hash SET NOT NULL;
ALTER TABLE @buckets DROP CONSTRAINT buckets_pkey;
ALTER TABLE @buckets ADD PRIMARY KEY (shard, bucket, hash);
CREATE INDEX buckets_order ON @buckets (shard ASC, bucket ASC, (substring(key FROM 1 FOR 1024)) ASC);

-- Claims ask for keys whether they are paused or not.
DROP INDEX @flows_look;
CREATE INDEX flows_look ON @flows (shard ASC, look_ms ASC);
