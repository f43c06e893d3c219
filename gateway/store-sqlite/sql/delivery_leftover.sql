-- delivery_leftover: whatever is with the run ?1, and whether that has consumed it.
SELECT message, no, port, route IS NULL FROM delivery WHERE run = ?1 AND run IS NOT NULL AND state = 5 ORDER BY seq
