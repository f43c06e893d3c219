-- body_is_open: whether the body ?1 is open under instance ?2.
SELECT 1 FROM body WHERE id = ?1 AND instance = ?2 AND state = 0
