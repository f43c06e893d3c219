-- group_clear
WITH said AS (
  INSERT INTO cluster_group AS c (name, clears) VALUES ($1, 1)
  ON CONFLICT (name) DO UPDATE SET clears = c.clears + 1, failed_at = NULL
  RETURNING name
), forgotten AS (
  DELETE FROM cluster_move m USING said WHERE m.grp = said.name
)
SELECT pg_notify('quayside_cluster', '') FROM said
