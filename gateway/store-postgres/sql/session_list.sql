-- session_list
SELECT id, node, seq, ttl_us, lease_until < now_us() AS overdue FROM session WHERE live ORDER BY node, id
