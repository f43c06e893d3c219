-- order_key_upsert: the held deliveries of key ?2 of port ?1 wait for the one with seq ?3.
INSERT INTO order_key (port, key, head_seq) VALUES (?1, ?2, ?3)
ON CONFLICT (port, key) DO UPDATE SET head_seq = excluded.head_seq
