-- definition_get: the definition ?2 of orchestration ?1.
SELECT text FROM definition WHERE orchestration = ?1 AND fingerprint = ?2
