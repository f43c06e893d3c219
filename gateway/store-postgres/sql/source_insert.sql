-- source_insert: a mark that was left unsettled is taken over by the message that came of it last.
INSERT INTO source (location, key, state, message, stored_at)
SELECT location, key, state, message, $1::bigint
FROM unnest($2::text[], $3::text[], $4::text[], $5::uuid[]) AS s(location, key, state, message)
ORDER BY location, key
ON CONFLICT (location, key) DO UPDATE
SET state = excluded.state, message = excluded.message, stored_at = excluded.stored_at
