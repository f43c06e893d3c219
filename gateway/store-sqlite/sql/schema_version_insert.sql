-- schema_version_insert: step ?1 was applied at ?2.
INSERT INTO schema_version (version, applied_at) VALUES (?1, ?2)
