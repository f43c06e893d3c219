-- delivery_end: ends the delivery ?1, ?2 held by instance ?3 under token ?4.
DELETE FROM delivery WHERE message = ?1 AND no = ?2 AND state = 1 AND instance = ?3 AND token = ?4
RETURNING port, seq, order_key
