-- source_lease_release: gives the lease ?1 of instance ?2 back.
DELETE FROM source_lease WHERE key = ?1 AND instance = ?2
