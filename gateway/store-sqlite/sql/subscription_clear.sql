-- subscription_clear: no key finds the run ?1 any more.
DELETE FROM subscription WHERE run = ?1
