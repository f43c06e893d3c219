-- cluster_open: as session_open, for an agent.
INSERT INTO session (id, node, ttl_us, lease_until, agent) VALUES ($1, $2, $3, now_us() + $3, true)
ON CONFLICT DO NOTHING
