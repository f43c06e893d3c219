-- run_wake: something has come for the run ?1. No row: it is over, or there is none.
UPDATE run SET wakes = wakes + 1, state = CASE state WHEN 2 THEN 0 ELSE state END WHERE id = ?1 AND state < 4
