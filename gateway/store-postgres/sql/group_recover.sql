-- group_recover
WITH well AS (
  UPDATE cluster_group SET failed_at = NULL WHERE name = $1 AND failed_at IS NOT NULL RETURNING name
)
SELECT pg_notify('quayside_cluster', '') FROM well
