-- exchange_answers
SELECT x.id, x.status, x.content_type, x.bytes
FROM unnest($1::uuid[]) AS w(id) JOIN exchange x ON x.id = w.id
WHERE x.answered_at IS NOT NULL
