-- run_consume: deliveries that runs have in their inboxes or keep end. Unknown ones ended in an earlier run of the group. The run is
-- compared in a way that no index is for: the planner would begin with all that runs have, see delivery_end.
WITH ended AS (
  DELETE FROM delivery d
  USING (
    SELECT e.run, f.place FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS e(run, message, no)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                        WHERE message = e.message AND no = e.no OFFSET 0) f) e
  WHERE d.ctid = e.place AND (d.state, d.run) IS NOT DISTINCT FROM (5::smallint, e.run)
  RETURNING d.message, d.no, d.token, d.port, d.attempts, d.run
)
INSERT INTO history (at, message, no, token, port, event, attempts, detail)
SELECT $4::bigint, message, no, token, port, 'consumed', attempts, 'by the orchestration instance ' || run FROM ended
