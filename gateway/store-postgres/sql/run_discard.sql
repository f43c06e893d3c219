-- run_discard: the runs $1 are over: what they kept was consumed, what was left in their inboxes was not. The keys have gone
-- before, and whoever enters a run by its id has waited for the step, or the step for it.
WITH ended AS (
  DELETE FROM delivery d
  USING (
    SELECT f.place FROM unnest($1::uuid[]) AS r(id)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery WHERE run = r.id AND state + 0 = 5 OFFSET 0) f) e
  WHERE d.ctid = e.place AND d.state + 0 = 5
  RETURNING d.message, d.no, d.token, d.port, d.attempts, d.run, d.route IS NULL AS kept
), told AS (
  INSERT INTO history (at, message, no, token, port, event, attempts, detail)
  SELECT $2::bigint, message, no, token, port, CASE WHEN kept THEN 'consumed' ELSE 'discarded' END, attempts,
         'by the orchestration instance ' || run
  FROM ended
), left_over AS MATERIALIZED (SELECT run, count(*)::int AS n FROM ended WHERE NOT kept GROUP BY run)
UPDATE run r SET discarded = r.discarded + l.n FROM left_over l WHERE r.id = l.run
