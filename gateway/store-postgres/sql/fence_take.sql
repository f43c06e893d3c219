-- fence_take: the timeline in the high bits keeps epochs rising across a failover that lost the last take.
WITH me AS MATERIALIZED (
  SELECT i.id FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $2 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
)
INSERT INTO fence AS f (grp, epoch, grant_id, instance)
SELECT $1, greatest(1, timeline() << 40), $3, me.id FROM me
ON CONFLICT (grp) DO UPDATE
SET epoch = greatest(f.epoch + 1, timeline() << 40), grant_id = excluded.grant_id,
    instance = excluded.instance
WHERE f.instance IS NULL
   OR NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                  WHERE i.id = f.instance AND i.state = 0 AND s.live)
RETURNING epoch
