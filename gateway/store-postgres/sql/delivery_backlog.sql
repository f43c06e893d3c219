-- delivery_backlog: every port with a live delivery, by hopping over the indexes: a count over all rows
-- would read a backlog of a million.
WITH RECURSIVE
ready AS (
  (SELECT port FROM delivery WHERE state = 0 AND order_key IS NULL ORDER BY port LIMIT 1)
  UNION ALL
  SELECT (SELECT d.port FROM delivery d WHERE d.state = 0 AND d.order_key IS NULL AND d.port > r.port
          ORDER BY d.port LIMIT 1) FROM ready r WHERE r.port IS NOT NULL),
ordered AS (
  (SELECT port FROM delivery WHERE order_key IS NOT NULL ORDER BY port LIMIT 1)
  UNION ALL
  SELECT (SELECT d.port FROM delivery d WHERE d.order_key IS NOT NULL AND d.port > r.port
          ORDER BY d.port LIMIT 1) FROM ordered r WHERE r.port IS NOT NULL),
parked AS (
  (SELECT port FROM delivery WHERE state IN (2, 3) ORDER BY port LIMIT 1)
  UNION ALL
  SELECT (SELECT d.port FROM delivery d WHERE d.state IN (2, 3) AND d.port > r.port
          ORDER BY d.port LIMIT 1) FROM parked r WHERE r.port IS NOT NULL),
claimed AS (
  SELECT d.port, count(*) AS n
  FROM instance i
  CROSS JOIN LATERAL (SELECT port FROM delivery WHERE state = 1 AND instance = i.id
                      LIMIT $1::bigint) d
  GROUP BY d.port),
port AS (
  SELECT port FROM ready WHERE port IS NOT NULL UNION SELECT port FROM ordered WHERE port IS NOT NULL
  UNION SELECT port FROM parked WHERE port IS NOT NULL UNION SELECT port FROM claimed)
SELECT p.port,
  least($1::bigint,
    (SELECT count(*) FROM (SELECT FROM delivery WHERE state = 0 AND order_key IS NULL
                           AND port = p.port LIMIT $1::bigint) x)
    + (SELECT count(*) FROM (SELECT FROM delivery WHERE state = 0 AND order_key IS NOT NULL
                             AND port = p.port LIMIT $1::bigint) x)) AS ready,
  least($1::bigint, coalesce((SELECT n FROM claimed c WHERE c.port = p.port), 0)) AS claimed,
  (SELECT count(*) FROM (SELECT FROM delivery WHERE state IN (2, 3) AND state = 2 AND port = p.port
                         LIMIT $1::bigint) x) AS held,
  (SELECT count(*) FROM (SELECT FROM delivery WHERE state IN (2, 3) AND state = 3 AND port = p.port
                         LIMIT $1::bigint) x) AS suspended
FROM port p ORDER BY p.port
