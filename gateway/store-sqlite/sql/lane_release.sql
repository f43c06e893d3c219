-- lane_release: instance ?2 gives up the lanes of port ?1 in which it holds nothing.
UPDATE lane SET instance = NULL
WHERE port = ?1 AND instance = ?2 AND NOT EXISTS (
  SELECT 1 FROM delivery d WHERE d.state = 1 AND d.instance = ?2 AND d.port = ?1 AND d.lane = lane.no)
