-- delivery_unhold: the first held delivery of key ?2 of port ?1 comes back.
UPDATE delivery SET state = 0 WHERE (message, no) IN (
  SELECT message, no FROM delivery
  WHERE port = ?1 AND order_key = ?2 AND state = 2 ORDER BY seq LIMIT 1)
RETURNING seq
