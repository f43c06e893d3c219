-- run_get
SELECT id, orchestration, definition, state, started_at, changed_at, due, instance, reason, discarded, data, ordered
FROM run WHERE id = $1
