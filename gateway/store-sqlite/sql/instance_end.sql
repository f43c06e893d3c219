-- instance_end: ends the instance ?1.
UPDATE instance SET state = 1 WHERE id = ?1
