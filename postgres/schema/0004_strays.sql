-- Imported messages, and dead letters, keep their ids, which name another shard than the
-- one that their queue or flow-control key is in. The shard that an id names knows where
-- it was put.
CREATE TABLE @strays (
	shard smallint NOT NULL, -- that the id names
	id    uuid     NOT NULL,
	place smallint NOT NULL, -- the shard that it is in
	at_ms bigint   NOT NULL, -- of the newest import
	PRIMARY KEY (shard, id, place)
);
