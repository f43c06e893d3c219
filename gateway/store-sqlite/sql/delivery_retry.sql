-- delivery_retry: the delivery ?1, ?2 held by instance ?3 under token ?4 waits: ?5 due, ?6 transport,
-- ?7 attempts, ?8 failure, ?9 whether it may have been sent. The rank moves with the due time and keeps the shift of its priority.
UPDATE delivery SET state = 4, instance = NULL, rank = rank - due + ?5, due = ?5, transport = ?6,
  attempts = ?7, failure = ?8, in_doubt = in_doubt OR ?9, deaths = 0
WHERE message = ?1 AND no = ?2 AND state = 1 AND instance = ?3 AND token = ?4
RETURNING port
