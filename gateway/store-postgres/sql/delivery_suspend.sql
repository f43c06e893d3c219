-- delivery_suspend: one that does not hold its key loses its place for good.
WITH suspended AS (
  UPDATE delivery d SET state = 3, instance = NULL, attempts = s.attempts, failure = s.failure,
         in_doubt = d.in_doubt OR s.doubtful, deaths = 0,
         order_key = CASE WHEN s.hold THEN d.order_key END, lane = CASE WHEN s.hold THEN d.lane END
  FROM (
    SELECT s.*, f.place
    FROM unnest($2::uuid[], $3::int[], $4::int[], $5::int[], $6::text[], $7::boolean[], $8::boolean[])
         AS s(message, no, token, attempts, failure, hold, doubtful)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                        WHERE message = s.message AND no = s.no OFFSET 0) f) s
  WHERE d.ctid = s.place
    AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, s.token)
  RETURNING d.message, d.no, d.port, d.attempts, d.failure, s.doubtful
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now_us(), message, no, port, 'suspended', attempts,
         (failure::json ->> 'code') || ': ' || (failure::json ->> 'detail')
         || CASE WHEN doubtful THEN '; it may have been sent' ELSE '' END
  FROM suspended
)
SELECT message, no FROM suspended
