-- order_key_find: what the held deliveries of key ?2 of port ?1 wait for.
SELECT head_seq FROM order_key WHERE port = ?1 AND key = ?2
