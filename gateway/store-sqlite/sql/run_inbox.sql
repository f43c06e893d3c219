-- run_inbox: up to ?2 messages that wait for the run ?1, in the order of their acceptance.
SELECT message, no, route FROM delivery WHERE run = ?1 AND run IS NOT NULL AND state = 5 AND route IS NOT NULL
ORDER BY seq LIMIT ?2
