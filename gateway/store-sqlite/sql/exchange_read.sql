-- exchange_read: the answer to the request ?1, if it has come.
SELECT id, status, content_type, bytes FROM exchange WHERE id = ?1 AND answered_at IS NOT NULL
