-- delivery_suspend: the delivery ?1, ?2 held by instance ?3 under token ?4 leaves the flow: ?5 attempts,
-- ?6 failure,
-- ?7 whether the last attempt may have had its effect.
UPDATE delivery SET state = 3, instance = NULL, attempts = ?5, failure = ?6, in_doubt = in_doubt OR ?7, deaths = 0
WHERE message = ?1 AND no = ?2 AND state = 1 AND instance = ?3 AND token = ?4
RETURNING port, seq, order_key
