-- session_expire: loses cleanly against a renewal. Waits for no batch: those lock their instance only.
WITH ended AS (
  UPDATE session SET live = false, expired_at = now_us()
  WHERE id = $1 AND seq = $2 AND live AND lease_until < now_us()
  RETURNING id
)
SELECT pg_notify('quayside_cluster', '') FROM ended
