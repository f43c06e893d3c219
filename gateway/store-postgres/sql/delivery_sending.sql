-- delivery_sending: the intent to send is recorded; the claims go on.
UPDATE delivery d SET unsent = 0, begun = now_us()
FROM (
  SELECT s.*, f.place
  FROM unnest($2::uuid[], $3::int[], $4::int[]) AS s(message, no, token)
  CROSS JOIN LATERAL (SELECT ctid AS place FROM delivery
                      WHERE message = s.message AND no = s.no OFFSET 0) f) s
WHERE d.ctid = s.place
  AND (d.state, d.instance, d.token) IS NOT DISTINCT FROM (1::smallint, $1::uuid, s.token)
RETURNING d.message, d.no
