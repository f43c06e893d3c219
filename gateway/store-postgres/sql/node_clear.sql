-- node_clear: $2, $3: what was said, and by whom.
WITH said AS (
  INSERT INTO cluster_node (name, cleared_at) VALUES ($1, now_us())
  ON CONFLICT (name) DO UPDATE SET cleared_at = excluded.cleared_at
  RETURNING name
), told AS (
  INSERT INTO cluster_event (stored_at, at, lasted_us, node, from_state, to_state, cause, evidence)
  SELECT now_us(), now_us(), 0, name, '', '', $2::text, ARRAY[$3::text] FROM said
)
SELECT pg_notify('quayside_cluster', '') FROM said
