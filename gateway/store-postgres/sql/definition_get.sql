-- definition_get
SELECT text FROM definition WHERE orchestration = $1 AND fingerprint = $2
