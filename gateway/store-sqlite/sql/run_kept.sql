-- run_kept: the deliveries that the run ?1 keeps.
SELECT message, no FROM delivery WHERE run = ?1 AND run IS NOT NULL AND state = 5 AND route IS NULL ORDER BY seq
