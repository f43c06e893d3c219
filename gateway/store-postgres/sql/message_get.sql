-- message_get: $2 and $3 are the first and last id, so that partitions are pruned once.
SELECT id, received_at, origin, type, context FROM message
WHERE id = ANY ($1::uuid[]) AND id BETWEEN $2 AND $3
