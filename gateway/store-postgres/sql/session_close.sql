-- session_close
WITH ended AS (UPDATE session SET live = false WHERE id = $1 AND live RETURNING id)
SELECT pg_notify('quayside_cluster', '') FROM ended
