-- run_discard: the run $1 is over: what it kept was consumed, what was left in its inbox was not. The keys have gone before,
-- and whoever enters a run by its id has waited for the step, or the step for it.
WITH ended AS (
  DELETE FROM delivery d WHERE d.run = $1::uuid AND d.state + 0 = 5
  RETURNING d.message, d.no, d.token, d.port, d.attempts, d.route IS NULL AS kept
), told AS (
  INSERT INTO history (at, message, no, token, port, event, attempts, detail)
  SELECT $2::bigint, message, no, token, port, CASE WHEN kept THEN 'consumed' ELSE 'discarded' END, attempts,
         'by the orchestration instance ' || $1::uuid
  FROM ended
), left_over AS MATERIALIZED (SELECT count(*)::int AS n FROM ended WHERE NOT kept)
UPDATE run r SET discarded = r.discarded + l.n FROM left_over l WHERE r.id = $1 AND l.n > 0
