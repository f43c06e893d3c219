-- session_close
UPDATE session SET live = false WHERE id = $1 AND live
