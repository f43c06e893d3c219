-- node_drain
WITH said AS (
  INSERT INTO cluster_node (name, drained) VALUES ($1, $2)
  ON CONFLICT (name) DO UPDATE SET drained = excluded.drained
  RETURNING name
)
SELECT pg_notify('quayside_cluster', '') FROM said
