-- delivery_terminate
WITH target AS MATERIALIZED (
  SELECT d.message, d.no, d.state
  FROM unnest($1::uuid[], $2::int[]) AS t(message, no)
  JOIN delivery d ON d.message = t.message AND d.no = t.no
  ORDER BY d.message, d.no
  FOR UPDATE OF d
), ended AS (
  DELETE FROM delivery d USING target t
  WHERE d.message = t.message AND d.no = t.no AND t.state <> 1
  RETURNING d.message, d.no, d.port, d.attempts
), told AS (
  INSERT INTO history (at, message, no, port, event, attempts, detail)
  SELECT now_us(), message, no, port, 'terminated', attempts, $3::text FROM ended
)
SELECT t.message, t.no, t.state, t.state <> 1 AS changed FROM target t
