-- run_live: the orchestrations that have live runs.
WITH RECURSIVE one(orchestration) AS (
  SELECT min(orchestration) FROM run
  UNION ALL SELECT (SELECT min(orchestration) FROM run WHERE orchestration > one.orchestration) FROM one
  WHERE one.orchestration IS NOT NULL
)
SELECT orchestration, (SELECT count(*) FROM (
  SELECT 1 FROM run r WHERE r.orchestration = one.orchestration AND r.state < 4 LIMIT ?1)) FROM one
WHERE orchestration IS NOT NULL
