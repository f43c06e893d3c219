-- order_next: claims the heads of these keys as about to be sent. The batch holds their lanes, and what it
-- settled before this statement has left the keys.
WITH first AS MATERIALIZED (
  SELECT f.place
  FROM unnest($2::text[], $3::int[], $4::bytea[]) AS k(port, lane, key)
  JOIN lane l ON l.port = k.port AND l.no = k.lane AND l.instance = $1
  CROSS JOIN LATERAL (
    SELECT r.ctid AS place, r.state, r.due FROM delivery r
    WHERE r.port = k.port AND r.order_key = k.key
    ORDER BY r.seq LIMIT 1) f
  WHERE f.state = 0 AND f.due <= now_us()
)
UPDATE delivery d SET state = 1, instance = $1, token = d.token + 1, unsent = 0
FROM first f WHERE d.ctid = f.place AND d.state + 0 = 0
RETURNING d.message, d.no, d.token, d.port, d.transport, d.attempts, d.rendered, d.lane, d.order_key,
          d.exchange, d.in_doubt, d.rank, d.seq, d.state
