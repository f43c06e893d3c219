-- body_abandon: gives the open body ?1 of instance ?2 up.
UPDATE body SET state = 2 WHERE id = ?1 AND instance = ?2 AND state = 0
