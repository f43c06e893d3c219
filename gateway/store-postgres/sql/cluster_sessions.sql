-- cluster_sessions: as session_list, of agents. Other processes have sessions of their own on the same nodes, which say
-- nothing of the nodes; those processes watch each other.
SELECT id, node, seq, ttl_us, lease_until < now_us() AS overdue FROM session
WHERE live AND agent ORDER BY node, id
