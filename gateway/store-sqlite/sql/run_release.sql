-- run_release: gives back the run ?1 that instance ?2 holds.
UPDATE run SET state = 0, instance = NULL WHERE id = ?1 AND state = 1 AND instance = ?2
