-- delivery_end
WITH ended AS (
  DELETE FROM delivery d
  USING unnest($3::uuid[], $4::int[], $5::int[], $6::text[], $7::int[], $8::text[])
        AS e(message, no, token, event, attempts, detail)
  WHERE d.message = e.message AND d.no = e.no
    AND d.state = 1 AND d.instance = $1 AND d.token = e.token
  RETURNING d.message, d.no, d.token, d.port, e.event, e.attempts, e.detail
), told AS (
  INSERT INTO history (at, message, no, token, port, event, attempts, detail)
  SELECT $2::bigint, message, no, token, port, event, attempts, detail FROM ended
)
SELECT message, no FROM ended
