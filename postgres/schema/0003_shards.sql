-- Which queue this is, and which of its databases. There is no row where a queue of one
-- shard was opened by itself.
CREATE TABLE @identity (
	one    boolean  PRIMARY KEY CHECK (one),
	queue  uuid     NOT NULL, -- drawn when the queue was made
	place  smallint NOT NULL, -- it holds the shards that leave this when divided by places
	places smallint NOT NULL, -- of how many databases
	made   boolean  NOT NULL  -- all of them have their row
);
