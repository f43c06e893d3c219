-- dedupe_insert: takes the key ?2 in the slice ?1 for message ?4 with fingerprint ?3 at ?5, exchange ?6.
-- No row: somebody has it.
INSERT INTO dedupe (slice, key, fingerprint, message, stored_at, exchange)
VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING
