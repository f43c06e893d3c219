-- node_clear
WITH said AS (
  INSERT INTO cluster_node (name, cleared_at) VALUES ($1, now_us())
  ON CONFLICT (name) DO UPDATE SET cleared_at = excluded.cleared_at
  RETURNING name
)
SELECT pg_notify('quayside_cluster', '') FROM said
