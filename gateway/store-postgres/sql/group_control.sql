-- group_control: online and paused stay as they are where NULL is given, and the pin unless $4. $6, $7, $8: through
-- which node it was said, what, and by whom.
WITH said AS (
  INSERT INTO cluster_group AS c (name, online, paused, pinned)
  VALUES ($1, coalesce($2, true), coalesce($3, false), $5)
  ON CONFLICT (name) DO UPDATE
  SET online = coalesce($2, c.online), paused = coalesce($3, c.paused),
      pinned = CASE WHEN $4 THEN excluded.pinned ELSE c.pinned END
  RETURNING name
), told AS (
  INSERT INTO cluster_event (stored_at, at, lasted_us, grp, node, from_state, to_state, cause, evidence)
  SELECT now_us(), now_us(), 0, name, $6::text, '', '', $7::text, ARRAY[$8::text] FROM said
)
SELECT pg_notify('quayside_cluster', '') FROM said
