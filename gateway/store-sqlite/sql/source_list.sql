-- source_list: up to ?2 marks of location ?1, oldest first.
SELECT key, state, message FROM source WHERE location = ?1 ORDER BY stored_at, message, key LIMIT ?2
