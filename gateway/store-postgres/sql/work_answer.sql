-- work_answer: the first answer to the work $1 with the token $2 counts: $3 status, $4 content_type, $5 bytes.
UPDATE exchange SET answered_at = now_us(), status = $3::int, content_type = $4::text, bytes = $5::bytea, lease_until = NULL
WHERE id = $1::uuid AND token = $2::uuid AND run IS NOT NULL AND answered_at IS NULL
