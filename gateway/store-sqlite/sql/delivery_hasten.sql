-- delivery_hasten: the waiting delivery ?1, ?2 is due at ?3.
UPDATE delivery SET state = 0, rank = rank - due + ?3, due = ?3
WHERE message = ?1 AND no = ?2 AND state = 4
