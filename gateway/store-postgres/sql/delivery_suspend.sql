-- delivery_suspend: one that does not hold its key loses its place for good.
UPDATE delivery d SET state = 3, instance = NULL, attempts = s.attempts, failure = s.failure,
       order_key = CASE WHEN s.hold THEN d.order_key END, lane = CASE WHEN s.hold THEN d.lane END
FROM unnest($2::uuid[], $3::int[], $4::int[], $5::int[], $6::text[], $7::boolean[])
     AS s(message, no, token, attempts, failure, hold)
WHERE d.message = s.message AND d.no = s.no
  AND d.state = 1 AND d.instance = $1 AND d.token = s.token
RETURNING d.message, d.no
