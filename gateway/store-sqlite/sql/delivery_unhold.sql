-- delivery_unhold: the first ?3 held deliveries of key ?2 of port ?1 come back.
UPDATE delivery SET state = 0 WHERE (message, no) IN (
  SELECT message, no FROM delivery
  WHERE port = ?1 AND order_key = ?2 AND state = 2 ORDER BY seq LIMIT ?3)
RETURNING seq
