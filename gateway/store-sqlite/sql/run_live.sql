-- run_live: how many runs are in each live state, by hops over the index; ?1 of each definition are counted at most.
WITH RECURSIVE name(id, orchestration, definition) AS (
  SELECT * FROM (SELECT id, orchestration, definition FROM run ORDER BY orchestration, definition LIMIT 1)
  UNION ALL
  SELECT r.id, r.orchestration, r.definition FROM name n JOIN run r ON r.id = (
    SELECT x.id FROM run x WHERE (x.orchestration, x.definition) > (n.orchestration, n.definition)
    ORDER BY x.orchestration, x.definition LIMIT 1)
), live(state) AS (VALUES (0), (1), (2), (3)),
counted AS (
  SELECT n.orchestration, s.state, (SELECT count(*) FROM (
    SELECT 1 FROM run r WHERE r.orchestration = n.orchestration AND r.definition = n.definition AND r.state = s.state
    LIMIT ?1)) AS live
  FROM name n CROSS JOIN live s
)
SELECT orchestration, state, min(sum(live), ?1) FROM counted GROUP BY orchestration, state HAVING sum(live) > 0
ORDER BY orchestration, state
