-- exchange_clear: the run ?1 waits for nothing any more.
DELETE FROM exchange WHERE run = ?1 AND run IS NOT NULL
