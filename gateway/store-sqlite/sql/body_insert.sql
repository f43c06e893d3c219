-- body_insert: opens the body ?1 for instance ?2 at ?3.
INSERT INTO body (id, instance, state, opened_at) VALUES (?1, ?2, 0, ?3) ON CONFLICT DO NOTHING
