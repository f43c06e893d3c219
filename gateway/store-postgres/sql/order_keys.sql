-- order_keys: the keys of deliveries on ordered ports. One look into the index for each, see order_busy.
SELECT s.message, s.no, d.port, d.order_key
FROM unnest($1::uuid[], $2::int[]) AS s(message, no)
CROSS JOIN LATERAL (SELECT port, order_key FROM delivery
                    WHERE message = s.message AND no = s.no OFFSET 0) d
WHERE d.order_key IS NOT NULL
