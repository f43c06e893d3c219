-- cluster_renew: as session_renew, and who answered.
WITH renewed AS (
  UPDATE session SET seq = seq + 1, lease_until = now_us() + ttl_us WHERE id = $1 AND live RETURNING id
)
SELECT EXISTS (SELECT FROM renewed) AS live, c.system_identifier AS system, timeline() AS timeline
FROM pg_control_system() c
