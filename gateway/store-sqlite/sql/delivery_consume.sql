-- delivery_consume: the delivery ?1, ?2 with the run ?3 ends.
DELETE FROM delivery WHERE message = ?1 AND no = ?2 AND state = 5 AND run = ?3 RETURNING port, token
