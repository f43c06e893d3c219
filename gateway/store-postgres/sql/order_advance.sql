-- order_advance: the first delivery of each key is no longer behind anything. One by one on purpose:
-- further ones would only be parked again, because the first of them is still in hand.
UPDATE delivery d SET state = 0
FROM (SELECT DISTINCT port, key FROM unnest($1::text[], $2::bytea[]) AS k(port, key)) k
CROSS JOIN LATERAL (
  SELECT f.message, f.no FROM delivery f WHERE f.port = k.port AND f.order_key = k.key
  ORDER BY f.seq LIMIT 1) first
WHERE d.message = first.message AND d.no = first.no AND d.state = 2
