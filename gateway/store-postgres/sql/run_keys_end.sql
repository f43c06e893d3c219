-- run_keys_end: waits for whoever is just entering by one of them.
DELETE FROM subscription WHERE run = ANY ($1::uuid[])
