-- group_release
WITH released AS (
  UPDATE fence SET instance = NULL, grant_id = NULL WHERE grp = $1 AND grant_id = $2 RETURNING grp
)
SELECT pg_notify('quayside_cluster', '') FROM released
