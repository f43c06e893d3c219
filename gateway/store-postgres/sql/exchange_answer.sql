-- exchange_answer: ends a delivery and writes the answer that it brought. The first answer stays.
WITH ended AS (
  DELETE FROM delivery d
  USING (
    SELECT e.*, f.place
    FROM unnest($3::uuid[], $4::int[], $5::int[], $6::text[], $7::int[], $8::text[],
                $9::uuid[], $10::int[], $11::text[], $12::bytea[])
         AS e(message, no, token, event, attempts, detail, exchange, status, content_type, bytes)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                        WHERE message = e.message AND no = e.no OFFSET 0) f) e
  WHERE d.ctid = e.place
    AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, e.token)
  RETURNING d.message, d.no, d.token, d.port, e.event, e.attempts, e.detail,
            e.exchange, e.status, e.content_type, e.bytes
), told AS (
  INSERT INTO history (at, message, no, token, port, event, attempts, detail)
  SELECT $2::bigint, message, no, token, port, event, attempts, detail FROM ended
), answered AS (
  UPDATE exchange x SET answered_at = $2::bigint, status = e.status,
         content_type = e.content_type, bytes = e.bytes
  FROM ended e WHERE x.id = e.exchange AND x.answered_at IS NULL
)
SELECT message, no FROM ended
