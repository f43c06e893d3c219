-- delivery_wake: up to ?3 deliveries of port ?1 that waited for ?2 are due.
UPDATE delivery SET state = 0 WHERE (message, no) IN (
  SELECT message, no FROM delivery WHERE port = ?1 AND state = 4 AND due <= ?2 ORDER BY due LIMIT ?3)
