-- group_offer
WITH offered AS (
  INSERT INTO cluster_group (name, offered_to, offered_at) VALUES ($1, $2, now_us())
  ON CONFLICT (name) DO UPDATE SET offered_to = excluded.offered_to, offered_at = excluded.offered_at
  RETURNING name
), moved AS (
  INSERT INTO cluster_move (grp, at) SELECT name, now_us() FROM offered WHERE $3
)
SELECT pg_notify('quayside_cluster', '') FROM offered
