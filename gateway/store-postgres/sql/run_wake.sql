-- run_wake: brings what has happened to its runs. Who holds one just now is not waited for: the row waits instead.
WITH told AS MATERIALIZED (
  SELECT no, run FROM run_wake ORDER BY no LIMIT 1000 FOR UPDATE SKIP LOCKED
), free AS MATERIALIZED (
  SELECT r.id FROM (SELECT DISTINCT run FROM told) t JOIN run r ON r.id = t.run FOR UPDATE OF r SKIP LOCKED
), woken AS (
  UPDATE run r SET wakes = r.wakes + 1, since = CASE WHEN r.state = 2 THEN now_us() ELSE r.since END,
         state = CASE WHEN r.state = 2 THEN 0 ELSE r.state END
  FROM free f WHERE r.id = f.id AND r.state + 0 < 4
), gone AS (
  DELETE FROM run_wake w USING told t
  WHERE w.no = t.no AND (t.run IN (SELECT id FROM free) OR NOT EXISTS (SELECT FROM run r WHERE r.id = t.run))
  RETURNING 1
)
SELECT count(*) AS count FROM gone
