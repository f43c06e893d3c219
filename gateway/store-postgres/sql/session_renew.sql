-- session_renew: touches no key column, so that it never waits for work.
UPDATE session SET seq = seq + 1, lease_until = now_us() + ttl_us WHERE id = $1 AND live
