-- chunk_delete
WITH old AS MATERIALIZED (
  SELECT c.body, c.no FROM body b JOIN chunk c ON c.body = b.id WHERE b.state = 2 LIMIT $1::bigint
), gone AS (
  DELETE FROM chunk c USING old o WHERE c.body = o.body AND c.no = o.no RETURNING 1
)
SELECT count(*) FROM gone
