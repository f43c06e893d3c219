-- run_consume: deliveries that the run $1 has in its inbox or keeps end. Unknown ones ended in an earlier run of the group.
WITH ended AS (
  DELETE FROM delivery d
  USING (
    SELECT f.place FROM unnest($3::uuid[], $4::int[]) AS e(message, no)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                        WHERE message = e.message AND no = e.no OFFSET 0) f) e
  WHERE d.ctid = e.place AND d.state + 0 = 5 AND d.run = $1::uuid
  RETURNING d.message, d.no, d.token, d.port, d.attempts
)
INSERT INTO history (at, message, no, token, port, event, attempts, detail)
SELECT $2::bigint, message, no, token, port, 'consumed', attempts, 'by the orchestration instance ' || $1::uuid FROM ended
