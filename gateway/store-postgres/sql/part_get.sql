-- part_get
SELECT p.message, p.no, p.name, p.content_type, p.len, p.bytes, p.body, b.chunks, b.sha256
FROM part p LEFT JOIN body b ON b.id = p.body
WHERE p.message = ANY ($1::uuid[]) AND p.message BETWEEN $2 AND $3
ORDER BY p.message, p.no
