-- instance_check: the fence of every batch, and the database's time. Without the lock a batch of an owner
-- that has just been declared dead could commit after its claims were released. The lock is also what
-- the outcome of a batch that is run again rests on: it is logged, so that this commit waits for the log.
SELECT now_us() FROM instance i JOIN session s ON s.id = i.session
WHERE i.id = $1 AND i.state = 0 AND s.live
FOR KEY SHARE OF i
