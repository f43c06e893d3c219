-- schema_version_read: the newest step applied.
SELECT coalesce(max(version), 0) FROM schema_version
