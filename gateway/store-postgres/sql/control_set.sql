-- control_set
INSERT INTO control (name, control, changed_at) VALUES ($1, $2, now_us())
ON CONFLICT (name) DO UPDATE SET control = excluded.control, changed_at = excluded.changed_at
RETURNING nextval('control_seq')
