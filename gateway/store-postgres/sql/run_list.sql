-- run_list: newest first, below $1, of the orchestration $3 or of all under it, in the state $4: the newest ones of each
-- definition and state, by hops over the index, however many wait.
WITH RECURSIVE name AS (
  (SELECT orchestration AS of, definition AS by FROM run ORDER BY orchestration, definition LIMIT 1)
  UNION ALL
  SELECT f.of, f.by FROM name n CROSS JOIN LATERAL (
    SELECT r.orchestration AS of, r.definition AS by FROM run r WHERE (r.orchestration, r.definition) > (n.of, n.by)
    ORDER BY r.orchestration, r.definition LIMIT 1) f
), newest AS MATERIALIZED (
  SELECT f.id FROM name n CROSS JOIN generate_series(0, 5) AS s(state)
  CROSS JOIN LATERAL (
    SELECT r.id FROM run r
    WHERE r.orchestration = n.of AND r.definition = n.by AND r.state = s.state AND r.id < $1
    ORDER BY r.orchestration, r.definition, r.state, r.id DESC LIMIT $2::bigint) f
  WHERE ($3::text IS NULL OR n.of = $3 OR starts_with(n.of, rtrim($3, '.') || '.')) AND ($4::smallint IS NULL OR s.state = $4)
  ORDER BY f.id DESC LIMIT $2
)
SELECT r.id, r.orchestration, r.definition, r.state, r.started_at, r.changed_at, r.due, r.instance, r.reason, r.discarded
FROM newest n JOIN run r ON r.id = n.id ORDER BY r.id DESC
