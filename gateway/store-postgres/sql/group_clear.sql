-- group_clear: $2, $3, $4 as in group_control.
WITH said AS (
  INSERT INTO cluster_group AS c (name, clears) VALUES ($1, 1)
  ON CONFLICT (name) DO UPDATE SET clears = c.clears + 1, failed_at = NULL
  RETURNING name
), forgotten AS (
  DELETE FROM cluster_move m USING said WHERE m.grp = said.name
), told AS (
  INSERT INTO cluster_event (stored_at, at, lasted_us, grp, node, from_state, to_state, cause, evidence)
  SELECT now_us(), now_us(), 0, name, $2::text, '', '', $3::text, ARRAY[$4::text] FROM said
)
SELECT pg_notify('quayside_cluster', '') FROM said
