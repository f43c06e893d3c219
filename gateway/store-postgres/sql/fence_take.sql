-- fence_take: takes the fence $1, which the caller has locked, once a dead owner is ended. The timeline in the high
-- bits keeps epochs rising across a failover that lost the last take.
WITH me AS MATERIALIZED (
  SELECT i.id FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $2 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
)
UPDATE fence f SET epoch = greatest(f.epoch + 1, timeline() << 40), grant_id = $3, instance = me.id
FROM me
WHERE f.grp = $1
  AND (f.instance IS NULL
       OR NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                      WHERE i.id = f.instance AND i.state = 0 AND s.live))
RETURNING f.epoch
