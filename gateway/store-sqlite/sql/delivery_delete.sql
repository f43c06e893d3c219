-- delivery_delete: ends the delivery ?1, ?2, which nobody holds.
DELETE FROM delivery WHERE message = ?1 AND no = ?2 AND state NOT IN (1, 5)
