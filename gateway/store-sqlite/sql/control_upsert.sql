-- control_upsert: the control ?2 of ?1, changed at ?3.
INSERT INTO control (name, control, changed_at) VALUES (?1, ?2, ?3)
ON CONFLICT (name) DO UPDATE SET control = excluded.control, changed_at = excluded.changed_at
