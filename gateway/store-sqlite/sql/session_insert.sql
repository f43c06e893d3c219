-- session_insert: ?1 id, ?2 node, ?3 ttl in microseconds, ?4 end of the lease. Opening again, because the
-- answer was lost, changes nothing.
INSERT INTO session (id, node, ttl_us, lease_until) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING
