-- lease_release
DELETE FROM source_lease WHERE key = $1 AND instance = $2
