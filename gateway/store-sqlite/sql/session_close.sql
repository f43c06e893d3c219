-- session_close: ends the session ?1.
UPDATE session SET live = 0 WHERE id = ?1
