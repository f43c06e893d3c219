-- session_open
INSERT INTO session (id, node, ttl_us, lease_until) VALUES ($1, $2, $3, now_us() + $3)
ON CONFLICT DO NOTHING
