-- run_insert: the run ?1 of orchestration ?2 and definition ?3 is born held by instance ?4 at ?5.
INSERT INTO run (id, orchestration, definition, state, token, instance, started_at, changed_at)
VALUES (?1, ?2, ?3, 1, 1, ?4, ?5, ?5) ON CONFLICT (id) DO NOTHING
