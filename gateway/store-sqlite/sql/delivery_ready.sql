-- delivery_ready: the first ?2 ready deliveries of port ?1.
SELECT message, no FROM delivery WHERE port = ?1 AND state = 0 ORDER BY rank LIMIT ?2
