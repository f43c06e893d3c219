-- order_busy: which of these keys have a live delivery.
SELECT k.port, k.key FROM unnest($1::text[], $2::bytea[]) AS k(port, key)
WHERE EXISTS (SELECT FROM delivery d WHERE d.port = k.port AND d.order_key = k.key)
