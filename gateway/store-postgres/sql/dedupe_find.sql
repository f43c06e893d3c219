-- dedupe_find: who took these keys first. slice is the one that the attempt to insert fell into.
SELECT DISTINCT ON (k.key) k.key, d.fingerprint, d.message, d.stored_at, d.exchange
FROM unnest($1::bytea[], $2::bigint[], $3::uuid[]) AS k(key, slice, loser)
JOIN LATERAL (
  SELECT * FROM dedupe d WHERE d.slice = k.slice - 1 AND d.key = k.key
  UNION ALL SELECT * FROM dedupe d WHERE d.slice = k.slice AND d.key = k.key
  UNION ALL SELECT * FROM dedupe d WHERE d.slice = k.slice + 1 AND d.key = k.key
) d ON true
ORDER BY k.key, d.message = k.loser, d.stored_at
