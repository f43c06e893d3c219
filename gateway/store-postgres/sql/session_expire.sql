-- session_expire: loses cleanly against a renewal.
UPDATE session SET live = false WHERE id = $1 AND seq = $2 AND live AND lease_until < now_us()
