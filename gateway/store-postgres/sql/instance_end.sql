-- instance_end: waits for the batches that this instance has open.
UPDATE instance SET state = 1 WHERE id = $1 AND state = 0
