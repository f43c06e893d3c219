-- group_release: the fence $1 of the group $3, which is offered to $4, unless that is NULL; $5: as a move because of a
-- fault. A release that has been done says nothing again.
WITH released AS (
  UPDATE fence SET instance = NULL, grant_id = NULL WHERE grp = $1 AND grant_id = $2 RETURNING grp
), offered AS (
  INSERT INTO cluster_group (name, offered_to, offered_at)
  SELECT $3, $4, now_us() FROM released WHERE $4::text IS NOT NULL
  ON CONFLICT (name) DO UPDATE SET offered_to = excluded.offered_to, offered_at = excluded.offered_at
  RETURNING name
), moved AS (
  INSERT INTO cluster_move (grp, at) SELECT name, now_us() FROM offered WHERE $5
)
SELECT pg_notify('quayside_cluster', '') FROM released
