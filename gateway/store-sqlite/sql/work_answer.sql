-- work_answer: the first answer to the work ?1 with the token ?2 counts: ?3 at, ?4 status, ?5 content_type, ?6 bytes.
UPDATE exchange SET answered_at = ?3, status = ?4, content_type = ?5, bytes = ?6, lease_until = NULL
WHERE id = ?1 AND token = ?2 AND run IS NOT NULL AND answered_at IS NULL
