-- run_exchanges_end: closes what the runs $1, which are over, have asked. In the order of the messages, and with the same exception,
-- as in run_exchanges.
WITH target AS MATERIALIZED (
  SELECT x.id, x.token IS NOT NULL AND x.answered_at IS NOT NULL AND x.lease_until IS NULL AS told
  FROM unnest($1::uuid[]) AS r(id)
  CROSS JOIN LATERAL (SELECT id, message FROM exchange WHERE run = r.id OFFSET 0) f
  JOIN exchange x ON x.id = f.id
  ORDER BY x.message, x.id FOR UPDATE OF x
), kept AS (
  UPDATE exchange x SET run = NULL, keep_until = now_us() + 900000000 FROM target t WHERE x.id = t.id AND t.told
)
DELETE FROM exchange x USING target t WHERE x.id = t.id AND NOT t.told
