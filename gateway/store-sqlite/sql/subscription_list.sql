-- subscription_list: the keys that find the run ?1.
SELECT key FROM subscription WHERE run = ?1 ORDER BY key
