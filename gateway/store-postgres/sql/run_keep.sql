-- run_keep: deliveries that the run $1 has consumed and keeps.
UPDATE delivery d SET route = NULL
FROM (
  SELECT f.place FROM unnest($2::uuid[], $3::int[]) AS e(message, no)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                      WHERE message = e.message AND no = e.no OFFSET 0) f) e
WHERE d.ctid = e.place AND d.state + 0 = 5 AND d.run = $1::uuid
