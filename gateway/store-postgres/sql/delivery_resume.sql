-- delivery_resume: the row that is locked first is the row that is judged. Who resumes one in doubt has
-- decided that it may be sent. What was suspended for good stays so: of suspended ones these alone are not changed.
-- $4: those in doubt alone.
WITH target AS MATERIALIZED (
  SELECT d.message, d.no, d.state, d.in_doubt, d.due <= now_us() AS is_due, d.priority,
         coalesce((d.failure::jsonb ->> 'resumable')::boolean, true) AS resumable
  FROM unnest($1::uuid[], $2::int[]) AS t(message, no)
  JOIN delivery d ON d.message = t.message AND d.no = t.no
  ORDER BY d.message, d.no
  FOR UPDATE OF d
), clock AS MATERIALIZED (SELECT now_us() AS now),
resumed AS (
  UPDATE delivery d SET state = 0, in_doubt = d.in_doubt AND t.state <> 3,
         doubt = CASE WHEN t.state <> 3 THEN d.doubt END, due = c.now,
         rank = c.now + (d.priority - 5) * 10000000::bigint,
         transport = CASE WHEN t.state = 3 THEN 0 ELSE d.transport END,
         attempts = CASE WHEN t.state = 3 THEN 0 ELSE d.attempts END,
         deaths = CASE WHEN t.state = 3 THEN 0 ELSE d.deaths END
  FROM target t, clock c
  WHERE d.message = t.message AND d.no = t.no AND (t.state = 3 AND t.resumable OR t.state = 0 AND NOT t.is_due)
    AND (t.in_doubt OR NOT $4::boolean)
  RETURNING d.message, d.no, d.port, t.state, d.attempts
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT c.now, message, no, port, 'resumed', attempts, $3::text FROM resumed, clock c
)
SELECT t.message, t.no, t.state, t.in_doubt,
       EXISTS (SELECT FROM resumed r WHERE r.message = t.message AND r.no = t.no) AS changed
FROM target t
