-- session_expire: ends the session ?1 if nobody renewed it since seq ?2 and its lease has run out at ?3.
UPDATE session SET live = 0 WHERE id = ?1 AND live = 1 AND seq = ?2 AND lease_until <= ?3
