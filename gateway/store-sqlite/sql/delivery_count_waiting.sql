-- delivery_count_waiting: how many deliveries of port ?1 wait for their time, counted up to ?3 (?2 is 4).
SELECT count(*) FROM (SELECT 1 FROM delivery WHERE port = ?1 AND state = 4 AND ?2 = 4 LIMIT ?3)
