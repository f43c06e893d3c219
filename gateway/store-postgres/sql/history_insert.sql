-- history_insert: of whole messages, without number and port, and of single deliveries
INSERT INTO history (at, message, no, port, event, attempts, detail)
SELECT $1::bigint, message, no, port, event, 0, detail
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::int[], $6::text[]) AS h(message, event, detail, no, port)
