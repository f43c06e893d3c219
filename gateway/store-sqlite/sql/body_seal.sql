-- body_seal: seals the open body ?1 of instance ?2: ?3 chunks, ?4 bytes, ?5 sha256.
UPDATE body SET state = 1, chunks = ?3, len = ?4, sha256 = ?5
WHERE id = ?1 AND state = 0 AND instance = ?2
