-- run_claim: gives the run ?1, which is ready or due at ?3, to instance ?2.
UPDATE run SET state = 1, instance = ?2, token = token + 1
WHERE id = ?1 AND (state = 0 OR (state = 2 AND due <= ?3))
RETURNING orchestration, definition, token, wakes, data, ordered, deaths
