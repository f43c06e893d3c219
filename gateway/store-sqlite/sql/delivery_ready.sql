-- delivery_ready: the first ?2 ready deliveries of port ?1, over which ?3 to ?4 owners have died.
SELECT message, no FROM delivery WHERE port = ?1 AND state = 0 AND deaths BETWEEN ?3 AND ?4 ORDER BY rank LIMIT ?2
