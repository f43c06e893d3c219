-- history_insert
INSERT INTO history (at, message, event, attempts, detail)
SELECT $1::bigint, message, event, 0, detail
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS h(message, event, detail)
