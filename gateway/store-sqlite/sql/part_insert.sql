-- part_insert: ?1 message, ?2 no, ?3 name, ?4 content_type, ?5 len, ?6 bytes or ?7 body in chunks.
INSERT INTO part (message, no, name, content_type, len, bytes, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
