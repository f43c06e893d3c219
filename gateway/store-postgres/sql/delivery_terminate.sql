-- delivery_terminate: as the event $4; $5: those in doubt alone. What somebody holds stays, and what an orchestration
-- instance has goes with that.
WITH target AS MATERIALIZED (
  SELECT d.message, d.no, d.state, d.in_doubt
  FROM unnest($1::uuid[], $2::int[]) AS t(message, no)
  JOIN delivery d ON d.message = t.message AND d.no = t.no
  ORDER BY d.message, d.no
  FOR UPDATE OF d
), ended AS (
  DELETE FROM delivery d USING target t
  WHERE d.message = t.message AND d.no = t.no AND t.state NOT IN (1, 5) AND (t.in_doubt OR NOT $5::boolean)
  RETURNING d.message, d.no, d.port, d.attempts
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now_us(), message, no, port, $4::text, attempts, $3::text FROM ended
)
SELECT t.message, t.no, t.state, t.in_doubt, t.state NOT IN (1, 5) AND (t.in_doubt OR NOT $5::boolean) AS changed
FROM target t
