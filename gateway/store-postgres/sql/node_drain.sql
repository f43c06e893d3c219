-- node_drain: $3, $4: what was said, and by whom.
WITH said AS (
  INSERT INTO cluster_node (name, drained) VALUES ($1, $2)
  ON CONFLICT (name) DO UPDATE SET drained = excluded.drained
  RETURNING name
), told AS (
  INSERT INTO cluster_event (stored_at, at, lasted_us, node, from_state, to_state, cause, evidence)
  SELECT now_us(), now_us(), 0, name, '', '', $3::text, ARRAY[$4::text] FROM said
)
SELECT pg_notify('quayside_cluster', '') FROM said
