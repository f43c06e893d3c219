-- history_list: the first $3; $2 is when the message was stored: nothing is told of it before, and partitions prune.
SELECT at, event, port, no, attempts, detail FROM history
WHERE message = $1 AND at >= $2 ORDER BY at, no NULLS FIRST LIMIT $3::bigint
