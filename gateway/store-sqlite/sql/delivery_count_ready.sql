-- delivery_count_ready: how many deliveries of port ?1 are ready and due, counted up to ?3 (?2 is 0).
SELECT count(*) FROM (SELECT 1 FROM delivery WHERE port = ?1 AND state = 0 AND ?2 = 0 LIMIT ?3)
