-- run_inbox_behind: up to ?4 messages that wait for the run ?1 behind the delivery ?2, ?3, in the order of their acceptance.
SELECT message, no, route FROM delivery WHERE run = ?1 AND run IS NOT NULL AND state = 5 AND route IS NOT NULL
  AND seq > (SELECT seq FROM delivery WHERE message = ?2 AND no = ?3)
ORDER BY seq LIMIT ?4
