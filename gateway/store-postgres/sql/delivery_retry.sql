-- delivery_retry: attempts and token stay comparable, so that a batch that is run again knows its work.
-- The first attempts leave an event each, later ones at every doubling, and the first one in doubt: a port that tries for
-- ever must not fill history. No attempts yet and no wait: of the backup, which is next.
WITH retried AS (
  UPDATE delivery d SET state = 0, instance = NULL, due = $2::bigint + r.wait,
         rank = $2::bigint + r.wait + (d.priority - 5) * 10000000::bigint,
         transport = r.transport, attempts = r.attempts, failure = r.failure,
         in_doubt = d.in_doubt OR r.doubtful, deaths = 0
  FROM (
    SELECT r.*, f.place, r.doubtful AND NOT f.in_doubt AS first_doubt
    FROM unnest($3::uuid[], $4::int[], $5::int[], $6::bigint[], $7::smallint[], $8::int[], $9::text[],
                $10::bool[])
         AS r(message, no, token, wait, transport, attempts, failure, doubtful)
    CROSS JOIN LATERAL (SELECT ctid AS place, in_doubt FROM delivery
                        WHERE message = r.message AND no = r.no OFFSET 0) f) r
  WHERE d.ctid = r.place
    AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, r.token)
  RETURNING d.message, d.no, d.port, d.attempts, d.failure, r.wait, r.doubtful, r.first_doubt
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT $2::bigint, message, no, port,
         CASE WHEN attempts = 0 AND wait = 0 THEN 'failed-over' ELSE 'attempt-failed' END, attempts,
         (failure::json ->> 'code') || ': ' || (failure::json ->> 'detail')
         || CASE WHEN doubtful THEN '; it may have been sent' ELSE '' END
  FROM retried WHERE attempts <= 16 OR attempts & (attempts - 1) = 0 OR first_doubt
)
SELECT message, no FROM retried
