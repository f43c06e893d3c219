-- delivery_hold: up to ?4 ready deliveries of key ?2 of port ?1 behind seq ?3 leave the ready index.
UPDATE delivery SET state = 2 WHERE (message, no) IN (
  SELECT message, no FROM delivery
  WHERE port = ?1 AND order_key = ?2 AND seq > ?3 AND state = 0 ORDER BY seq LIMIT ?4)
