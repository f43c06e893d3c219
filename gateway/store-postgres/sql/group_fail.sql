-- group_fail
WITH failed AS (
  INSERT INTO cluster_group (name, failed_at) VALUES ($1, now_us())
  ON CONFLICT (name) DO UPDATE SET failed_at = excluded.failed_at
  RETURNING name
)
SELECT pg_notify('quayside_cluster', '') FROM failed
