-- exchange_answer: the first answer to the request ?1 counts: ?2 at, ?3 status, ?4 content_type, ?5 bytes.
UPDATE exchange SET answered_at = ?2, status = ?3, content_type = ?4, bytes = ?5
WHERE id = ?1 AND answered_at IS NULL
