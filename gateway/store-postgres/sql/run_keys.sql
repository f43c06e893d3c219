-- run_keys: which other run has one of the keys that the run $1 wants.
SELECT run_keys($1::uuid, $2::bytea[], $3::bytea[]) AS taken_by
