-- part_insert
INSERT INTO part (message, no, name, content_type, len, bytes, body)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], $7::uuid[])
