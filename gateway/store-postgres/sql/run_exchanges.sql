-- run_exchanges: closes exchanges of the run $1, all of them if $3, and answers those that the messages $5 have opened; the
-- first answer stays. In the order of the messages, as a batch that answers several has them, so that a run which ends and
-- the senders that answer it do not wait for each other. What a program has answered with its token is the run's no more, and
-- is known for a quarter of an hour, so that the program may repeat it.
WITH answer AS MATERIALIZED (
  SELECT m.exchange, a.status, a.content_type, a.bytes
  FROM unnest($5::uuid[], $6::int[], $7::text[], $8::bytea[]) AS a(message, status, content_type, bytes)
  CROSS JOIN LATERAL (SELECT exchange FROM message WHERE id = a.message OFFSET 0) m
  WHERE m.exchange IS NOT NULL
), wanted AS MATERIALIZED (
  SELECT x.id FROM exchange x WHERE x.run = $1::uuid AND $3::boolean
  UNION SELECT unnest($4::uuid[])
  UNION SELECT exchange FROM answer
), target AS MATERIALIZED (
  SELECT x.id, x.run, x.token IS NOT NULL AND x.answered_at IS NOT NULL AND x.lease_until IS NULL AS told
  FROM wanted w JOIN exchange x ON x.id = w.id
  ORDER BY x.message, x.id FOR UPDATE OF x
), closed AS (
  DELETE FROM exchange x USING target t WHERE x.id = t.id AND t.run = $1 AND NOT t.told AND ($3 OR x.id = ANY ($4))
), kept AS (
  UPDATE exchange x SET run = NULL, keep_until = $2::bigint + 900000000
  FROM target t WHERE x.id = t.id AND t.run = $1 AND t.told AND ($3 OR x.id = ANY ($4))
)
UPDATE exchange x SET answered_at = $2::bigint, status = a.status, content_type = a.content_type, bytes = a.bytes
FROM target t JOIN answer a ON a.exchange = t.id WHERE x.id = t.id AND x.answered_at IS NULL
