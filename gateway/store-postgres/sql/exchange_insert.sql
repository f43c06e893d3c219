-- exchange_insert: two messages cannot open the same request, but for a run that asks once more: its earlier row goes first,
-- with an answer that nobody wants any more. The count is there so that it goes first. A rerun never comes here.
WITH asked AS MATERIALIZED (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[]) AS e(id, message, keep_until, run)
), earlier AS (
  DELETE FROM exchange x USING asked e WHERE x.id = e.id AND x.run = e.run RETURNING x.id
)
INSERT INTO exchange (id, message, keep_until, run)
SELECT id, message, keep_until, run FROM asked WHERE (SELECT count(*) FROM earlier) >= 0
ORDER BY id
