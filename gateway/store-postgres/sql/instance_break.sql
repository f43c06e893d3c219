-- instance_break: ends the connections to this database that carry the name $1. Told, not waited for.
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) AS broken FROM pg_stat_activity
WHERE application_name = $1 AND datname = current_database() AND pid <> pg_backend_pid()
