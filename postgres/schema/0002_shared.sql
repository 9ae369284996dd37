-- How many deduplication ids are reserved.
INSERT INTO @counters (shard, name, n) SELECT s.shard, 'dedup', (SELECT count(*) FROM @dedup d WHERE d.shard = s.shard)
	FROM @counters s WHERE s.name = 'message';
