-- chunk_upsert: ?1 body, ?2 no, ?3 bytes. Writing a chunk again replaces it.
INSERT INTO chunk (body, no, bytes) VALUES (?1, ?2, ?3)
ON CONFLICT (body, no) DO UPDATE SET bytes = excluded.bytes
