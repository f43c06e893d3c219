-- lane_take: takes lanes that nobody live owns.
WITH me AS MATERIALIZED (
  SELECT i.id FROM instance i JOIN session s ON s.id = i.session
  WHERE i.id = $1 AND i.state = 0 AND s.live
  FOR KEY SHARE OF i
), free AS MATERIALIZED (
  SELECT l.port, l.no FROM me, lane l
  WHERE l.port = ANY ($2::text[]) AND l.instance IS DISTINCT FROM $1
    AND NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                    WHERE i.id = l.instance AND i.state = 0 AND s.live)
  ORDER BY l.port, l.no
  FOR UPDATE OF l SKIP LOCKED
)
UPDATE lane l SET instance = $1, epoch = l.epoch + 1
FROM free f WHERE l.port = f.port AND l.no = f.no
RETURNING l.no
