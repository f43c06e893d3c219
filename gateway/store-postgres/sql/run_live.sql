-- run_live: how many runs are in each live state, by hops over the index; $1 of each definition are counted at most.
WITH RECURSIVE name AS (
  (SELECT orchestration AS of, definition AS by FROM run ORDER BY orchestration, definition LIMIT 1)
  UNION ALL
  SELECT f.of, f.by FROM name n CROSS JOIN LATERAL (
    SELECT r.orchestration AS of, r.definition AS by FROM run r WHERE (r.orchestration, r.definition) > (n.of, n.by)
    ORDER BY r.orchestration, r.definition LIMIT 1) f
), counted AS (
  SELECT n.of, s.state, count(*) AS live FROM name n CROSS JOIN generate_series(0, 3) AS s(state)
  CROSS JOIN LATERAL (SELECT FROM run r WHERE r.orchestration = n.of AND r.definition = n.by AND r.state = s.state
                      LIMIT $1::bigint) r
  GROUP BY n.of, s.state
)
SELECT of AS orchestration, state::smallint, least(live, $1) AS live FROM counted ORDER BY of, state
