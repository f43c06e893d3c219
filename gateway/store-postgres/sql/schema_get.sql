-- schema_get
SELECT max(version) FROM schema_version
