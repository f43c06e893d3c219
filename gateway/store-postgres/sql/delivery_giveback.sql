-- delivery_giveback: gives claims back untouched.
UPDATE delivery d SET state = 0, instance = NULL
FROM (
  SELECT g.*, f.place
  FROM unnest($2::uuid[], $3::int[], $4::int[]) AS g(message, no, token)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                      WHERE message = g.message AND no = g.no OFFSET 0) f) g
WHERE d.ctid = g.place
  AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, g.token)
RETURNING d.message, d.no
