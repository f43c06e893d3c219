-- run_enter_born: deliveries, claimed by $1, enter runs that this group creates. What does not come back is left to
-- run_enter.
UPDATE delivery d SET state = 5, instance = NULL, run = e.run, route = e.route, in_doubt = false, doubt = NULL
FROM (
  SELECT e.*, f.place
  FROM unnest($2::uuid[], $3::int[], $4::int[], $5::uuid[], $6::text[]) AS e(message, no, token, run, route)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                      WHERE message = e.message AND no = e.no OFFSET 0) f) e
WHERE d.ctid = e.place AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, e.token)
RETURNING d.message
