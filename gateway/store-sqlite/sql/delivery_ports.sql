-- delivery_ports: every port with a live delivery, by skipping through the indexes: a port with a million
-- of them costs one step. Claimed ones are few.
WITH RECURSIVE
  ready(port) AS (
    SELECT min(port) FROM delivery WHERE state = 0
    UNION ALL SELECT (SELECT min(port) FROM delivery WHERE state = 0 AND port > ready.port)
    FROM ready WHERE ready.port IS NOT NULL),
  waiting(port) AS (
    SELECT min(port) FROM delivery WHERE state = 4
    UNION ALL SELECT (SELECT min(port) FROM delivery WHERE state = 4 AND port > waiting.port)
    FROM waiting WHERE waiting.port IS NOT NULL),
  parked(port) AS (
    SELECT min(port) FROM delivery WHERE state IN (2, 3)
    UNION ALL SELECT (SELECT min(port) FROM delivery WHERE state IN (2, 3) AND port > parked.port)
    FROM parked WHERE parked.port IS NOT NULL)
SELECT port FROM ready WHERE port IS NOT NULL
UNION SELECT port FROM waiting WHERE port IS NOT NULL
UNION SELECT port FROM parked WHERE port IS NOT NULL
UNION SELECT port FROM delivery WHERE state = 1
ORDER BY port
