-- delivery_giveback: gives claims back untouched.
UPDATE delivery d SET state = 0, instance = NULL
FROM unnest($2::uuid[], $3::int[], $4::int[]) AS g(message, no, token)
WHERE d.message = g.message AND d.no = g.no
  AND d.state = 1 AND d.instance = $1 AND d.token = g.token
RETURNING d.message, d.no
