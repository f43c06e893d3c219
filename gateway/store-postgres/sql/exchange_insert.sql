-- exchange_insert: two messages cannot open the same request, but for a run that asks once more: its earlier row goes first,
-- with an answer that nobody wants any more, unless it is work under a lease, whose answer stays. So does the row of work that
-- the run has closed, with its answer. The count is there so that it goes first. A rerun never comes here.
WITH asked AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bigint[], $6::bigint[], $7::int[], $8::uuid[])
    AS e(id, message, keep_until, run, lease, lease_until, attempt, token)
), earlier AS (
  DELETE FROM exchange x USING asked e
  WHERE x.id = e.id AND (x.run = e.run OR (x.run IS NULL AND x.token IS NOT NULL AND e.run IS NOT NULL))
  RETURNING x.id, x.run, x.answered_at, x.status, x.content_type, x.bytes, x.lease_until
)
INSERT INTO exchange (id, message, keep_until, run, lease, lease_until, attempt, token, answered_at, status, content_type, bytes)
SELECT e.id, e.message, e.keep_until, e.run, e.lease,
       CASE WHEN k.answered_at IS NULL THEN e.lease_until ELSE k.lease_until END, e.attempt, e.token,
       k.answered_at, k.status, k.content_type, k.bytes
FROM asked e LEFT JOIN earlier k ON k.id = e.id AND k.run = e.run AND e.token IS NOT NULL
WHERE (SELECT count(*) FROM earlier) >= 0
ORDER BY e.id
