-- body_seal: only the instance that wrote the chunks, and only once.
UPDATE body b SET state = 1, chunks = s.chunks, len = s.len, sha256 = s.sha256
FROM unnest($2::uuid[], $3::int[], $4::bigint[], $5::bytea[]) AS s(id, chunks, len, sha256)
WHERE b.id = s.id AND b.state = 0 AND b.instance = $1
RETURNING b.id
