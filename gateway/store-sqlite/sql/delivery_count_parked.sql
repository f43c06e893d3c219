-- delivery_count_parked: how many deliveries of port ?1 are in state ?2 (held or suspended), up to ?3.
SELECT count(*) FROM (
  SELECT 1 FROM delivery WHERE port = ?1 AND state IN (2, 3) AND state = ?2 LIMIT ?3)
