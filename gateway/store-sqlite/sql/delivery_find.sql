-- delivery_find: the live delivery ?1, ?2. A failure without a word about it can be resumed.
SELECT port, seq, order_key, state, attempts, COALESCE(json_extract(failure, '$.resumable'), 1), in_doubt
FROM delivery WHERE message = ?1 AND no = ?2
