-- delivery_line: the first ?3 live deliveries of key ?2 of port ?1, in their order.
SELECT message, no, seq, state FROM delivery
WHERE port = ?1 AND order_key = ?2 ORDER BY seq LIMIT ?3
