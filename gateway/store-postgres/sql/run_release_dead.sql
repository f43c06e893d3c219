-- run_release_dead: by hops from one holder to the next; also those of a holder whose row is gone. Whatever waits is behind
-- them: they were claimed before it, and somebody waits for them already as long as it took to see that their holder is dead.
WITH RECURSIVE holder AS (
  (SELECT instance AS id FROM run WHERE state = 1 ORDER BY instance LIMIT 1)
  UNION ALL
  SELECT (SELECT r.instance FROM run r WHERE r.state = 1 AND r.instance > h.id ORDER BY r.instance LIMIT 1)
  FROM holder h WHERE h.id IS NOT NULL
), dead AS MATERIALIZED (
  SELECT f.id FROM holder h
  CROSS JOIN LATERAL (SELECT r.id FROM run r WHERE r.state = 1 AND r.instance = h.id FOR UPDATE SKIP LOCKED) f
  WHERE h.id IS NOT NULL
    AND NOT EXISTS (SELECT FROM instance i JOIN session s ON s.id = i.session
                    WHERE i.id = h.id AND i.state = 0 AND s.live)
  LIMIT $1::bigint
)
UPDATE run r SET state = 0, instance = NULL, since = 0, deaths = least(r.deaths, 32000) + 1
FROM dead d WHERE r.id = d.id AND r.state + 0 = 1
RETURNING r.id
