-- run_held: whether the run ?1 is held by instance ?2 under token ?3.
SELECT 1 FROM run WHERE id = ?1 AND state = 1 AND instance = ?2 AND token = ?3
