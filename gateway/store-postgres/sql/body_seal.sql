-- body_seal: only the instance that wrote the chunks, only all of them, and only once. The lengths of
-- chunks stand beside them, so that none is read.
UPDATE body b SET state = 1, chunks = s.chunks, len = s.len, sha256 = s.sha256
FROM unnest($2::uuid[], $3::int[], $4::bigint[], $5::bytea[]) AS s(id, chunks, len, sha256)
WHERE b.id = s.id AND b.state = 0 AND b.instance = $1
  AND (SELECT count(*) FROM chunk c WHERE c.body = s.id) = s.chunks
  AND (SELECT coalesce(sum(length(c.bytes)), 0) FROM chunk c WHERE c.body = s.id) = s.len
RETURNING b.id
