-- What a cancellation has left is removed once it cannot be undone any more. Where that was
-- done is not looked into again.
ALTER TABLE @operations ADD COLUMN purged boolean NOT NULL DEFAULT false;
CREATE INDEX operations_purge ON @operations (shard ASC, id ASC)
	WHERE kind = 'cancel' AND undo_ms IS NULL AND restored_ms IS NULL AND NOT purged;

-- Queues (kind 1) and flow-control keys (2) that claims are to look into, left by
-- transactions of programs: those must not lock the rows of rooms.
CREATE TABLE @looks (
	shard smallint NOT NULL,
	id    uuid     NOT NULL,
	kind  smallint NOT NULL,
	name  text     NOT NULL,
	PRIMARY KEY (shard, id)
);
