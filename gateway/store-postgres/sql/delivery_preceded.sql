-- delivery_preceded: whether a delivery of the port of $1, $2 that was accepted before it waits or is in hand, untried.
SELECT EXISTS (
  SELECT FROM instance i
  CROSS JOIN LATERAL (
    SELECT FROM delivery h
    WHERE h.state = 1 AND h.instance = i.id AND h.port = me.port AND h.attempts = 0 AND h.seq < me.seq
    ORDER BY h.instance LIMIT 1) d
) OR EXISTS (
  SELECT FROM generate_series(1, 10) AS p(priority)
  CROSS JOIN LATERAL (
    SELECT r.attempts, r.seq FROM delivery r
    WHERE r.state = 0 AND r.order_key IS NULL AND r.port = me.port AND r.priority = p.priority AND r.due <= now_us()
    ORDER BY r.port, r.priority, r.due LIMIT 500) d
  WHERE d.attempts = 0 AND d.seq < me.seq
) AS preceded
FROM delivery me WHERE me.message = $1::uuid AND me.no = $2::int
