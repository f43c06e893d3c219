-- order_next: claims the first deliveries of these keys as about to be sent, $5 of each at most, up to the
-- first that is neither due nor parked behind those before it. The batch holds their lanes, and what it
-- settled before this statement has left the keys.
WITH run AS MATERIALIZED (
  SELECT f.place
  FROM unnest($2::text[], $3::int[], $4::bytea[], $5::int[]) AS k(port, lane, key, most)
  JOIN lane l ON l.port = k.port AND l.no = k.lane AND l.instance = $1
  CROSS JOIN LATERAL (
    SELECT r.place, bool_and(r.state = 0 AND r.due <= now_us() OR r.state = 2 AND r.turn > 1)
                    OVER (ORDER BY r.turn) AS free
    FROM (
      SELECT first.*, row_number() OVER (ORDER BY first.seq) AS turn
      FROM (SELECT d.ctid AS place, d.state, d.due, d.seq FROM delivery d
            WHERE d.port = k.port AND d.order_key = k.key
            ORDER BY d.seq LIMIT k.most) first) r) f
  WHERE f.free
)
UPDATE delivery d SET state = 1, instance = $1, token = d.token + 1, unsent = 0, begun = now_us()
FROM run f WHERE d.ctid = f.place AND d.state + 0 IN (0, 2)
RETURNING d.message, d.no, d.token, d.port, d.transport, d.attempts, d.rendered, d.lane, d.order_key,
          d.exchange, d.in_doubt, d.deaths, d.rank, d.seq, d.state
