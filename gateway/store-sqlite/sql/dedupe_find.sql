-- dedupe_find: who has the key ?2 in the slice ?1.
SELECT fingerprint, message, stored_at, exchange FROM dedupe WHERE slice = ?1 AND key = ?2
