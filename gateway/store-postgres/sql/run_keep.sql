-- run_keep: deliveries that runs have consumed and keep.
UPDATE delivery d SET route = NULL
FROM (
  SELECT e.run, f.place FROM unnest($1::uuid[], $2::uuid[], $3::int[]) AS e(run, message, no)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                      WHERE message = e.message AND no = e.no OFFSET 0) f) e
WHERE d.ctid = e.place AND (d.state, d.run) IS NOT DISTINCT FROM (5::smallint, e.run)
