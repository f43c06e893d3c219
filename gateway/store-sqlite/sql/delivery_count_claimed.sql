-- delivery_count_claimed: how many deliveries of port ?1 are in hands, counted up to ?3 (?2 is 1).
SELECT count(*) FROM (SELECT 1 FROM delivery WHERE port = ?1 AND state = 1 AND ?2 = 1 LIMIT ?3)
