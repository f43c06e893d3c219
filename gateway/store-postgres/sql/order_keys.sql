-- order_keys: the keys of deliveries on ordered ports.
SELECT d.message, d.no, d.port, d.order_key
FROM unnest($1::uuid[], $2::int[]) AS s(message, no)
JOIN delivery d ON d.message = s.message AND d.no = s.no
WHERE d.order_key IS NOT NULL
