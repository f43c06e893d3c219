-- lane_lock: the lanes that a batch touches: those of hand-offs ($2, $3) and of deliveries that it
-- settles ($4, $5), which are looked up one by one as in delivery_end.
SELECT l.port, l.no, l.instance IS NOT DISTINCT FROM $1::uuid AS mine
FROM lane l
WHERE (l.port, l.no) IN (
  SELECT port, no FROM unnest($2::text[], $3::int[]) AS n(port, no)
  UNION
  SELECT d.port, d.lane FROM unnest($4::uuid[], $5::int[]) AS s(message, no)
  CROSS JOIN LATERAL (SELECT port, lane, order_key FROM delivery
                      WHERE message = s.message AND no = s.no OFFSET 0) d
  WHERE d.order_key IS NOT NULL)
ORDER BY l.port, l.no
FOR UPDATE OF l
