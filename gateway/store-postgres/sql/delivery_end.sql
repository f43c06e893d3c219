-- delivery_end: the rows are looked up by key one by one and then met by their place, here and in the
-- other settlements. Left to itself the planner, which saw an empty queue, would join every claim of the
-- instance with every end. The claim is compared again at the place, for a row that changed meanwhile.
WITH ended AS (
  DELETE FROM delivery d
  USING (
    SELECT e.*, f.place
    FROM unnest($3::uuid[], $4::int[], $5::int[], $6::text[], $7::int[], $8::text[])
         AS e(message, no, token, event, attempts, detail)
    CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                        WHERE message = e.message AND no = e.no OFFSET 0) f) e
  WHERE d.ctid = e.place
    AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, e.token)
  RETURNING d.message, d.no, d.token, d.port, e.event, e.attempts, e.detail
), told AS (
  INSERT INTO history (at, message, no, token, port, event, attempts, detail)
  SELECT $2::bigint, message, no, token, port, event, attempts, detail FROM ended
)
SELECT message, no FROM ended
