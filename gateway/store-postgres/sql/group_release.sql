-- group_release: the fence $1 of the group $3, which is offered to $4, unless that is NULL; $5: as a move because of a
-- fault. A release that has been done says nothing again. The lanes of its owner, which has finished, go with it: to give
-- them up is nothing that the next owner should have to wait for.
WITH released AS (
  UPDATE fence f SET instance = NULL, grant_id = NULL
  FROM (SELECT grp, instance FROM fence WHERE grp = $1 AND grant_id = $2 FOR UPDATE) was
  WHERE f.grp = was.grp RETURNING f.grp, was.instance
), held AS MATERIALIZED (
  SELECT d.port, d.lane FROM released r
  CROSS JOIN LATERAL (SELECT port, lane FROM delivery WHERE state = 1 AND instance = r.instance OFFSET 0) d
), idle AS MATERIALIZED (
  -- In the order of all who lock them. One that somebody else has comes free with the end of the instance.
  SELECT l.port, l.no FROM lane l JOIN released r ON l.instance = r.instance
  WHERE NOT EXISTS (SELECT FROM held h WHERE h.port = l.port AND h.lane = l.no)
  ORDER BY l.port, l.no FOR UPDATE OF l SKIP LOCKED
), freed AS (
  UPDATE lane l SET instance = NULL FROM idle i WHERE l.port = i.port AND l.no = i.no
), offered AS (
  INSERT INTO cluster_group (name, offered_to, offered_at)
  SELECT $3, $4, now_us() FROM released WHERE $4::text IS NOT NULL
  ON CONFLICT (name) DO UPDATE SET offered_to = excluded.offered_to, offered_at = excluded.offered_at
  RETURNING name
), moved AS (
  INSERT INTO cluster_move (grp, at) SELECT name, now_us() FROM offered WHERE $5
)
SELECT pg_notify('quayside_cluster', '') FROM released
