-- run_order: leaves the order ?2 for the run ?1 and has it looked at.
UPDATE run SET ordered = ?2, ordered_wakes = wakes + 1, wakes = wakes + 1, state = CASE WHEN state IN (2, 3) THEN 0 ELSE state END
WHERE id = ?1 AND state < 4
