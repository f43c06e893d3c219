-- run_release: those of $1 that it does not know of.
UPDATE run SET state = 0, instance = NULL, since = now_us()
WHERE state = 1 AND instance = $1 AND NOT id = ANY ($2::uuid[])
RETURNING id
