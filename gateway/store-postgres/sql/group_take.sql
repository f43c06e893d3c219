-- group_take: as fence_take, of the fence $1 of group $4, which the caller has locked. A counted one is a move, unless it
-- follows a drill, or a planned end, within $6 microseconds.
WITH me AS MATERIALIZED (
  SELECT i.id FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $2 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
), taken AS (
  UPDATE fence f SET epoch = greatest(f.epoch + 1, timeline() << 40), grant_id = $3, instance = me.id
  FROM me
  WHERE f.grp = $1
    AND (f.instance IS NULL
         OR NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                        WHERE i.id = f.instance AND i.state = 0 AND s.live))
  RETURNING f.epoch
), known AS (
  UPDATE instance i SET epoch = taken.epoch FROM taken WHERE i.id = $2
), moved AS (
  INSERT INTO cluster_move (grp, at) SELECT $4::text, now_us() FROM taken
  WHERE $5 AND NOT EXISTS (SELECT FROM cluster_group c WHERE c.name = $4 AND c.drill_at > now_us() - $6::bigint)
), met AS (
  -- A drill that nobody has answered is for the next owner.
  UPDATE cluster_group c SET offered_to = NULL, offered_at = NULL,
    drill_at = CASE WHEN c.order_kill AND c.order_no > c.answered_no THEN c.drill_at END
  FROM taken WHERE c.name = $4 AND (c.offered_to IS NOT NULL OR c.drill_at IS NOT NULL)
)
SELECT epoch, pg_notify('quayside_cluster', '') FROM taken
