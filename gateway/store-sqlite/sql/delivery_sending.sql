-- delivery_sending: the delivery ?1, ?2 held by instance ?3 under token ?4 is about to be sent.
UPDATE delivery SET unsent = 0
WHERE message = ?1 AND no = ?2 AND state = 1 AND instance = ?3 AND token = ?4
