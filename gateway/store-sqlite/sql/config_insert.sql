-- config_insert: ?1 version, ?2 hash, ?3 text, ?4 applied_at.
INSERT INTO config (version, hash, text, applied_at) VALUES (?1, ?2, ?3, ?4)
