-- group_control: online and paused stay as they are where NULL is given, and the pin unless $4.
WITH said AS (
  INSERT INTO cluster_group AS c (name, online, paused, pinned)
  VALUES ($1, coalesce($2, true), coalesce($3, false), $5)
  ON CONFLICT (name) DO UPDATE
  SET online = coalesce($2, c.online), paused = coalesce($3, c.paused),
      pinned = CASE WHEN $4 THEN excluded.pinned ELSE c.pinned END
  RETURNING name
)
SELECT pg_notify('quayside_cluster', '') FROM said
