-- session_list: live sessions, and whether each is overdue at ?1.
SELECT id, node, seq, ttl_us, lease_until <= ?1 FROM session WHERE live = 1 ORDER BY node, id
