-- part_load: the parts of message ?1.
SELECT p.name, p.content_type, p.len, p.bytes, p.body, b.chunks, b.sha256
FROM part p LEFT JOIN body b ON b.id = p.body WHERE p.message = ?1 ORDER BY p.no
