-- instance_stop: as instance_end, for a process that others wait for.
WITH ended AS (UPDATE instance SET state = 1 WHERE id = $1 AND state = 0 RETURNING id)
SELECT pg_notify('quayside_cluster', '') FROM ended
