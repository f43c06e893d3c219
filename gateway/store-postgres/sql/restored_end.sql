-- restored_end: whoever lived in the store is dead. A process that sleeps finds its session gone.
WITH instances AS (UPDATE instance SET state = 1 WHERE state = 0)
UPDATE session SET live = false WHERE live
