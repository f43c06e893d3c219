-- session_renew: renews the live session ?1 at ?2 by its own ttl.
UPDATE session SET seq = seq + 1, lease_until = ?2 + ttl_us WHERE id = ?1 AND live = 1
