-- order_busy: which of these keys have a live delivery. One look into the index for each key: LIMIT keeps the planner
-- from reading all of it, which it takes for short if it saw the table last when that was empty.
SELECT k.port, k.key FROM unnest($1::text[], $2::bytea[]) AS k(port, key)
CROSS JOIN LATERAL (SELECT FROM delivery d WHERE d.port = k.port AND d.order_key = k.key LIMIT 1) busy
