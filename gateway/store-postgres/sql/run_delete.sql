-- run_delete: those that ended before $1, the first $2 of them.
DELETE FROM run WHERE id IN (SELECT id FROM run WHERE state >= 4 AND since <= $1 ORDER BY since LIMIT $2::bigint)
