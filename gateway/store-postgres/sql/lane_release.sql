-- lane_release: a later statement than the one that locks the lanes, so that it sees what was claimed until
-- then.
UPDATE lane l SET instance = NULL
WHERE l.port = $2 AND l.instance = $1 AND NOT EXISTS (
  SELECT FROM delivery d
  WHERE d.state = 1 AND d.instance = $1 AND d.port = l.port AND d.lane = l.no)
RETURNING l.no
