-- run_key_list
SELECT key FROM subscription WHERE run = $1 ORDER BY key
